"""Groups of agents at sites, and who leads them."""

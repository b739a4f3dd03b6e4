"""How the links to the sites stand, and `sync now`."""

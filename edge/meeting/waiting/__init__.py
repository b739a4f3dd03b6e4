"""Who waits at the sync points of a site."""

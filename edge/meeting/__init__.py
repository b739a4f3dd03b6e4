"""Sync points for the agents of a site, over gRPC."""

"""Documents for the agents of a site, over gRPC."""

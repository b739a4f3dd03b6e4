"""How a node serves over gRPC: the settings of its channels, and what it answers of its health."""

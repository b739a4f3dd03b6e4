"""What a site says of itself on its own machine: a site that is cut off has nobody else to ask."""

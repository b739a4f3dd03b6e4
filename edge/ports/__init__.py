"""Where a site meets the world: its log, its blobs, its clocks, the line to the cloud, the doors for its agents."""

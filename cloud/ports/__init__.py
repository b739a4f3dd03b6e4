"""Where the cloud meets the world: its log, its blobs, its clocks, the doors for the sites' links and for the API."""

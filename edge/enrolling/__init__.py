"""A new site gets its first certificate from the cloud, for a token."""

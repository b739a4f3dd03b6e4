"""Documents of runs at the cloud: read from the replicas of their homes and from tombstones, changed by orders to their homes."""

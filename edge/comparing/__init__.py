"""Are the replicas at the cloud what this home has? Both sides say so if not."""

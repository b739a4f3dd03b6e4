"""What a node holds of each stream, for its links: how far, with which hash, and the rows themselves."""

"""How what the core wants written gets to the disk."""

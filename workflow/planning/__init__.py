"""The plan of a run as a document that people edit while its home goes on with it, and may be cut off."""

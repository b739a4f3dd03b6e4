"""Whose file a log is."""

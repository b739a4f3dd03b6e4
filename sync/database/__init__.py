"""The file beneath a log."""

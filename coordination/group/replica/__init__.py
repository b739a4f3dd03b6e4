"""The core of a member at work."""

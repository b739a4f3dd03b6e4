"""Whole logs, from a leader to a member that lacks what the group's log no longer holds."""

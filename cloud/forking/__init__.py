"""Forking: a new run like an old one, which takes over what was done before the task with which it begins."""

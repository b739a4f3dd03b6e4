"""Agents watch the documents of their site."""

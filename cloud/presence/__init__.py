"""Agents at the cloud: where each is in its life, what it holds, which runs are its."""

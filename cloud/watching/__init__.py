"""Waiting for what happens at the cloud, and watching it."""

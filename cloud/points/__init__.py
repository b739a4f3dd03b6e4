"""Sync points of runs at the cloud: shown from the replicas of their homes, arrived at by orders to these."""

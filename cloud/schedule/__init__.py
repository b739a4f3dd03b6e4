"""Schedules at the cloud: a small core beside the planner, what it is asked, what it shows, and its part of the API.

A schedule without a site has its home here. One with a site is handed to that site, which decides for it from then on; the cloud
keeps a replica and sends orders, as it does for runs.
"""

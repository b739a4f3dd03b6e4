"""Documents at the cloud: a Part of the planner, what it is asked, and its part of the API."""

"""Standing rules at the cloud: a Part of the planner that hands them to the sites, what it is asked, and its part of the API."""

"""All conflicts of all nodes as one feed: a Part of the planner that folds them, and its part of the API for people."""

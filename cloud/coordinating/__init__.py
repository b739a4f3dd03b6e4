"""How tasks find their agents, at the cloud: what is in force, what is under way at the sites, and what came of it."""

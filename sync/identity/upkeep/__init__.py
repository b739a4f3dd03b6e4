"""A node looks after its certificate: warns of its end, and has it renewed."""

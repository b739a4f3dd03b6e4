"""Conflicts on record: of two that could not both stand, which does, by which rule, and how a person brings back the other."""

"""Sync points: places in a run where agents wait for each other, as values that all layers share.

What a point is promised (`terms`), what has happened at it (`events`) and what follows from that (`state`) stand here: a run's
fragment folds them, `coordination.barrier` decides them, and those two do not know each other.
"""

"""Looking for runs, and back at them: lists by what is wanted, a run as it was at a moment, its checkpoints.

State is a fold of the log, so nothing is kept for any of it: what a run was like is folded anew from its events when somebody
asks.
"""

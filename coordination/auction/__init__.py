"""Auctions: batches of lots, bids of agents, awards within what each agent can take.

`assigning.assign` is the mathematics: who gets what, pure and bounded by rounds. numpy is imported by the solving modules alone,
and scipy only where one lot each is matched, so that a site without auctions carries neither.
"""

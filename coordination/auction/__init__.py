"""Auctions: batches of lots, bids of agents, awards within what each agent can take.

    lots gather for a window -> they are announced together -> bids -> the awards of all of them at once -> each is a lease

`house` is the protocol, `bids` what is offered and said, `evaluators` which bid is best. `assigning.assign` is the mathematics:
who gets what, pure and bounded by rounds. numpy is imported by the solving modules alone, and scipy only where one lot each is
matched, so that a site without auctions carries neither.
"""

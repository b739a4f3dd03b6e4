"""How knowledge travels: the event log, the Driver that writes it, and the replication of logs between nodes.

The log is the truth. A node appends facts to a stream that it alone writes, with dense sequence numbers and a hash
chain; everything else (state, views, replicas) is a fold over such streams. A peer catches up by "send me all after
n", verifies the chain, stores the writer's bytes unchanged and folds them; receiving twice is harmless.

The one loop to know is the Driver's turn, which runs every node, cloud or edge:

    take a batch of inputs from the inbox                     # bounded: a full inbox pushes back
    for each input:
        decide   -> events and effects                        # a pure core; nothing has changed yet
        evolve   <- each event, at once                       # so the next input already sees it
    commit all events of the batch in one transaction         # one fsync; the next batch is decided meanwhile
    when the commit position passes an event, release its effects and replies

Nothing leaves a node before it is committed. If a commit fails, the cores it touched are folded again from the log,
and nobody has heard of what was lost. The turn is one synchronous function over three ports (Log, Clock, Out), so
that a simulator can run it with a clock, a disk and a network of its own.

Begin with `values` (the nouns of every layer), `commit` (what one transaction holds) and `chain` (what makes a log
verifiable). Modules named driver, log, service and blobs touch the world; all others are pure and take time and
chance as arguments:

    >>> from sync.clock import HybridClock
    >>> clock = HybridClock()
    >>> clock.tick(1_000) < clock.tick(1_000) < clock.tick(999)
    True

Levels of consistency (`sync.levels`): a transition of level *eventual* counts once it is durable here, and converges when
the link heals. Of a *strong* one the effects wait until the peer holds it (`Confirmed`, `sync.lag`); a *bounded* run or
document decides nothing while the peer lacks too much of it. The Driver's turn is the same.
"""

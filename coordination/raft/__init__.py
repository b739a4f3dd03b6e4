"""Raft: one order of commands among the boxes of a site, as a pure core in the shape of etcd-io/raft.

    raft = Raft(Configuration("a"), Stored(snapshot=founded(("a", "b", "c"))), chance)
    raft.tick()                     # every heartbeat interval
    raft.step(message)              # whatever a peer says
    raft.propose_all([b"command"])  # at the leader
    while (ready := raft.ready()) is not None:
        # 1. write ready.hard_state, ready.entries (they replace whatever lies at their place and behind) and ready.snapshot,
        #    in one transaction, durably;
        # 2. only then send ready.messages (ready.early of them may leave at once), apply ready.committed, answer ready.reads;
        # 3. raft.advance(ready)

Several Readys may be on their way to the disk at once; `advance` is called in their order. What is committed may be written in
the same transaction as the entries, but the applied state and its index always in one. A node whose disk is lost never comes back
under its name: what it has acknowledged would be counted for what it no longer has; it is removed, and joins under another.

The core has no clock: time is the ticks, chance is the generator that it is given, and who it is are names. It never reads the
disk: the log behind its last snapshot is in memory.

Sources: D. Ongaro, J. Ousterhout, In Search of an Understandable Consensus Algorithm, USENIX ATC 2014 (extended version),
sections 5 to 8; D. Ongaro, Consensus: Bridging Theory and Practice, 2014, chapters 3, 4, 6 and 9.6; etcd-io/raft, doc.go.
"""

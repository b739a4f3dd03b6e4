"""A group: several boxes that are one site together, each with the whole log of the site.

    log = EventLog.open(data_dir / "edge.db", NodeId("harbour"), member="a")
    member = Member(GroupConfig("harbour", "a", {"a": "10.0.0.1:7600", "b": "10.0.0.2:7600", "c": "10.0.0.3:7600"}), log)
    serving = asyncio.create_task(member.serve())
    async for leadership in member.leaderships():       # each time that this member is elected
        node = EdgeNode(config, ports_with(leadership.log))  # a Driver runs on it as on an EventLog; its boot is the term
        await leadership.ended.wait()                    # and is built anew in the next leadership

What the Driver submits is proposed to the group (`coordination.raft`), and is durable once a majority has it on its disks. Then
each member applies it to its own EventLog, in one order, with the place in the group's log in the same transaction: so the logs
of all members are equal, row by row, and so are their timers, snapshots and answers. The writer of a site's streams is the site.

One turn of a member (`coordination.group.driver`): whatever has come, messages and proposals, is given to the core; what that
wants written goes to the log's thread as one transaction; messages that rest on it leave when it is durable.

Sources: see `coordination.raft`. That a leader may send entries before its own disk has them: Ongaro's thesis, section 10.2.1.
"""

"""Who does what: leases, and the protocols that give a task to an agent.

Everything that is given is a lease: a resource, a holder, an epoch and a time to live. The lease only helps progress,
for a holder may be slow, cut off, or dead. Safety comes from the epoch: it rises with every new holder, and whoever
guards the effect refuses what carries an older one.

The one loop to know is that of every protocol:

    request, bid, heartbeat or time that passed -> decide -> grants, refusals, expiries (events)
    each event                                  -> evolve -> who holds what

All protocols stand behind one interface and are pure, so that the simulator can run any of them against lost messages
and slow clocks, and a site can change its protocol without the workflows noticing. This layer knows agents and
resources, not runs: edge and cloud join the two, and coordination never imports workflow.
"""

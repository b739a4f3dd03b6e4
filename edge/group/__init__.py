"""A site of several boxes: each is a member of the site's group, and the one that leads is the site.

    values      what a box is told at its start
    driver      GroupNode: the log, the member, and the EdgeNode while this box leads
    actors      the member in a thread of its own: what holds the site up must not lose it its leadership
    service     the doors: bound once, they lead to the EdgeNode while there is one, and else say who leads
    blobs       large values, held by a majority before anything names them
    main        `tiercel edge group`: who is a member, and how far each is

The group's log is the site's log (`coordination.group`), so a box that comes to lead folds what the one before had made durable,
and goes on. The cloud and the agents see one site; an epoch of its leadership is the term of the group.
"""

"""How protocols of coordination choose among the agents of a site: each is a Seeker behind one interface.

    a task is ready and wants an agent -> seek -> offers, votes, a leader's plan -> dispatch.give(..., agent) -> TaskAwarded
    it wants none any more             -> withdraw

The protocols decide in `coordination`, which knows no runs; a Seeker here knows both. Negotiations are of the moment: they are
not in the log and begin anew after a restart. What they come to is an event.
"""

"""The edge node of a site: it executes what it was given, and goes on when the cloud cannot be reached.

An edge node is one Driver (see `sync`) with three things around it: a *gateway*, where the agents of the site
register and work; an *executor*, which releases ready tasks, asks a protocol who does them, leases attempts and
watches deadlines; and a *link* to the cloud, over which its own stream goes up and the cloud's stream for it comes
down.

The one loop to know, from the release of a fragment to its end:

    the cloud's stream brings a release -> the edge records that it adopted the fragment; from now on it decides
    a task is ready                     -> an attempt is leased to an agent: epoch, deadline, idempotency key
    the agent answers                   -> the result is recorded, then acknowledged, and the next tasks are ready
    the last task ends                  -> the fragment is complete; the cloud learns of it when the link allows

No step waits for the cloud. Without it the node even starts: its state is a fold over its own log. A result that
carries an older epoch is still a fact and is adopted; a decision that carries one is refused. Silent is not dead: an
agent that is not heard keeps what it holds until its lease has run out.
"""

"""Local agents: many of them in one process, with the capabilities that Tiercel brings along.

A local agent is an agent like any other. It registers at the gateway of its edge node over a Unix socket, by the
runtime of the SDK, with its own lease, capacity and journal; the edge cannot tell it from a robot. What is special is
only where it lives: a process costs 40 to 120 MB, so one AgentHost holds many agents, and Ray restarts the host when
it dies.

The one loop to know is the agent's, in `tiercel`:

    assignments arrive (never more than the capacity)
    each is run under its idempotency key                # a key in the journal is answered from it, not run again
    the outcome is written to the journal, then sent
    the edge acknowledges once it has committed; the journal forgets

What the capabilities here do to the world (files inside an allowed root, HTTP calls, transformations of data) happens
in this layer, and never inside a server of Tiercel.
"""

"""The domain: what a workflow is, and the life of one run of it.

A definition is a document, versioned and immutable, and never code: users have no rules of determinism to keep, and
agents may be written in any language. It is compiled once per version into a plan of integer-indexed arrays that all
its runs share. A run is pinned to the version it began on. Its part on one site is a fragment, and a fragment has one
home at a time, cloud or edge.

The one loop to know is the life of a fragment, driven by whoever is its home:

    command (start, result, timer, cancel) -> decide(state, command) -> events
    each event                             -> evolve(state, event)   -> state

`decide` changes nothing. `evolve` is the only code that changes a run, and all that a restart and a replica execute,
so all of them end in the same state. Expressions (`${{ }}`, CEL) are evaluated once, in `decide`, and their values
are recorded: a replay never evaluates.

Everything here is pure: time comes as a `Now`, ids come from the caller, and no set is iterated unsorted. Who does a
task is none of this layer's business: a run asks for an assignment and is told of the grant, and workflow never
imports coordination.
"""

"""Operational transform: edits of one document made at several places at once, put into one order.

    sequencer = Sequencer(Document(), checks=(no_circles,))            # at the document's home
    here = View(Document(), 0)                                         # wherever somebody edits, cut off or not
    done = here.edit([AddNode("/pick", {"minutes": 3})], "e1")
    answer = sequencer.submit(Change("harbour", 1, 0, done, ref="e1"))  # Accepted or Refused; others hear the Accepted, too
    here.hear(answer.revision, answer.operations, "e1")

The home of a document alone gives it revisions, so two edits only ever have to agree when one is known to come first (TP1);
nothing here needs more (TP2), and nearly all published algorithms that claim more have been shown to be wrong.

Everything is addressed by ids: nodes, edges, items of lists. The place of an item in its list is a key between those of its
neighbours (`between`), not a number, so most pairs of operations do not touch each other, and what touches is a short table
(`sync.ot.transform`). Of two edits of the same thing the earlier in the order stands; deleting beats editing; what is lost is a
`Lost` with both sides, and can be made again.

Sources: D. Nichols et al., High-latency, low-bandwidth windowing in the Jupiter collaboration system, UIST 1995 (one server,
TP1); A. Imine et al. and G. Oster et al. on TP2; ShareDB, lib/submit-request.js.
"""

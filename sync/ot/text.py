"""Two edits of one text: the transform of spans (as in ShareDB's text type and Etherpad's changesets)."""

from collections.abc import Sequence

from sync.ot.operations import Span


def tidy(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same edit in its shortest form."""
    out: list[Span] = []
    for span in spans:
        joined = _joined(out[-1], span) if out and span else None
        if joined is not None:
            out[-1] = joined
        elif span:
            out.append(span)
    while out and isinstance(out[-1], int) and out[-1] > 0:
        out.pop()
    return tuple(out)


def _joined(before: Span, span: Span) -> Span | None:
    """Two that say the same as one."""
    if isinstance(before, str) and isinstance(span, str):
        return before + span
    if isinstance(before, int) and isinstance(span, int) and before * span > 0:
        return before + span
    return None


class _Reader:
    """Takes an edit apart, so many characters of the old text at a time; behind its end everything stays."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = [span for span in reversed(spans) if span]

    def insert(self) -> str:
        """What is inserted right here."""
        out = ""
        while self.spans and isinstance(self.spans[-1], str):
            out += str(self.spans.pop())
        return out

    def left(self) -> int:
        """How many characters the next span covers; 0 behind the end."""
        return abs(self.spans[-1]) if self.spans and isinstance(self.spans[-1], int) else 0

    def take(self, count: int) -> bool:
        """Go over so many characters; are they kept?"""
        if not self.spans:
            return True
        span = self.spans.pop()
        assert isinstance(span, int), "inserts are taken first"
        rest = abs(span) - count
        if rest:
            self.spans.append(rest if span > 0 else -rest)
        return span > 0


def transformed(
    spans: Sequence[Span], other: Sequence[Span], gone: Sequence[str], *, is_first: bool
) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """The edit `spans` for the text that `other` has made, and what is left of its `gone`. Inserts at the same place: those of
    the first come first."""
    mine, theirs, lost = _Reader(spans), _Reader(other), "".join(gone)
    out: list[Span] = []
    kept = ""
    while mine.spans or theirs.spans:
        inserted, other_inserted = mine.insert(), theirs.insert()
        out += [inserted, len(other_inserted)] if is_first else [len(other_inserted), inserted]
        count = min((n for n in (mine.left(), theirs.left()) if n), default=0)
        if not count:
            continue
        keeps, others_keep = mine.take(count), theirs.take(count)
        if not keeps:
            piece, lost = lost[:count], lost[count:]
            if others_keep:
                out.append(-count)
                kept += piece
        elif others_keep:
            out.append(count)
    out_spans = tidy(out)
    return out_spans, _cut(out_spans, kept)


def _cut(spans: Sequence[Span], kept: str) -> tuple[str, ...]:
    """What each deletion of an edit takes away."""
    pieces = []
    for span in spans:
        if isinstance(span, int) and span < 0:
            pieces.append(kept[:-span])
            kept = kept[-span:]
    return tuple(pieces)

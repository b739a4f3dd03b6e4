"""One document of several writers: the set of writes that matter, and the value that follows from it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from sync.documents.terms import Terms
from sync.merging import escrow
from sync.merging.dots import Dot, Vector, count_of, covers, joined
from sync.merging.events import DocumentWritten, WriteQuarantined
from sync.merging.rules import LWW, Evaluate, Outcome, Rule, Sibling, judge, read_rule

QUARANTINES_KEPT = 64


class Key(NamedTuple):
    """A field, or one part of it (see `FieldWritten`)."""

    name: str
    part: str = ""


ROOT = Key("", "\0")
"""Is there such a document? Every edit says so; one that has been edited by somebody who did not know of its end goes on."""
_HERE = b"true"


class Merged:
    """`terms` is None while only writes are known of it. `writes` are those that matter: not overwritten in each of their fields
    by somebody who had seen them; `quarantined` says how far ahead of the cloud's clock stamps were."""

    def __init__(self) -> None:
        self.terms: Terms | None = None
        self.writes: dict[Dot, DocumentWritten] = {}
        self.quarantined: dict[Dot, int] = {}
        self._fields: dict[Key, dict[Dot, bytes]] = {}
        self._rules: dict[str, Rule] = {}

    # Folding ----------------------------------------------------------------------------------------------------------

    def begin(self, terms: Terms) -> None:
        """It begins on these terms; if it has begun, nothing changes."""
        if self.terms is None:
            self.terms = terms
            self._rules = {name: _rule(text) for name, text in terms.rules}

    def apply(self, write: DocumentWritten) -> bool:
        """Take in a write, from wherever it comes; False if all of it had been overwritten or was known."""
        dot = write.dot
        if dot in self.writes:
            return False
        lasting = [key for key in _keys(write) if not self._is_overwritten(key, dot)]
        if not lasting:
            return False
        said = _values(write)
        for key in lasting:
            self._overwrite(key, write.context)
            self._fields.setdefault(key, {})[dot] = said[key]
        self.writes[dot] = self._trimmed(write)
        return True

    def quarantine(self, event: WriteQuarantined) -> None:
        """The cloud's judgement on a write, known here or not."""
        self.quarantined[event.dot] = event.ahead_ms
        if len(self.quarantined) > QUARANTINES_KEPT:
            done = [dot for dot in sorted(self.quarantined, key=lambda dot: dot.counter) if dot not in self.writes]
            for dot in done[: len(self.quarantined) - QUARANTINES_KEPT]:
                del self.quarantined[dot]

    def _is_overwritten(self, key: Key, dot: Dot) -> bool:
        return any(covers(self.writes[other].context, dot) for other in self._fields.get(key, ()))

    def _overwrite(self, key: Key, context: Vector) -> None:
        """What the writer had seen of the field counts no more."""
        siblings = self._fields.get(key, {})
        for dot in [dot for dot in siblings if covers(context, dot)]:
            del siblings[dot]
            write = self.writes[dot]
            if self._lasts(write):
                self.writes[dot] = self._trimmed(write)
            else:
                del self.writes[dot]

    def _lasts(self, write: DocumentWritten) -> bool:
        return any(write.dot in self._fields.get(key, ()) for key in _keys(write))

    def _trimmed(self, write: DocumentWritten) -> DocumentWritten:
        """Without the fields that count no more."""
        kept = tuple(each for each in write.fields if write.dot in self._fields.get(Key(each.name, each.part), ()))
        return write if len(kept) == len(write.fields) else msgspec.structs.replace(write, fields=kept)

    # What follows from it ---------------------------------------------------------------------------------------------

    @property
    def vector(self) -> dict[str, int]:
        """All that is known of it here, those writes included that others have overwritten."""
        latest = self._latest()
        return joined([*(write.context for write in latest), *({write.dot.writer: write.dot.counter} for write in latest)])

    def _latest(self) -> list[DocumentWritten]:
        """The writes that have seen all others."""
        return [*self.heads, *(write for write in self.writes.values() if write.moves)]

    @property
    def heads(self) -> list[DocumentWritten]:
        """The writes that nobody here had seen when they wrote, the latest last."""
        return sorted((self.writes[dot] for dot in self._fields.get(ROOT, ())), key=lambda write: self._rank(write.dot))

    @property
    def version(self) -> int:
        """How many writes are known here, those that were overwritten included: it grows with each that comes."""
        return count_of(self.vector)

    @property
    def height(self) -> int:
        """Above all writes that are known here (`DocumentWritten.version`)."""
        return max(self.version, max((write.version for write in self._latest()), default=0)) + 1

    @property
    def exists(self) -> bool:
        """Somebody has written it, and nobody who had seen that has taken it away."""
        return any(self._fields.get(ROOT, {}).values())

    @property
    def keys(self) -> Iterable[Key]:
        """All fields and their parts, those that were taken away included."""
        return self._fields.keys()

    @property
    def size(self) -> int:
        """Bytes of all values that are kept."""
        return sum(len(value) for siblings in self._fields.values() for value in siblings.values())

    def rule(self, name: str) -> Rule:
        """By which the field is merged."""
        return self._rules.get(name, LWW)

    def parts(self, name: str) -> dict[str, dict[Dot, bytes]]:
        """The parts of a field, by what they are."""
        return {key.part: siblings for key, siblings in self._fields.items() if key.name == name and key != ROOT}

    def siblings(self, key: Key) -> list[Sibling]:
        """The writes of it that stand side by side, by their dots."""
        held = self._fields.get(key, {})
        return [Sibling(dot, held[dot], self.writes[dot].stamp, dot in self.quarantined) for dot in sorted(held)]

    def names(self) -> list[str]:
        """Of all its fields, in order."""
        return sorted({key.name for key in self._fields if key != ROOT})

    def outcome(self, name: str, evaluate: Evaluate | None = None) -> Outcome:
        """What the field is."""
        rule, parts = self.rule(name), self.parts(name)
        if rule.kind == "sum":
            return Outcome(b"%d" % escrow.total(rule, escrow.accounts_of(parts)), None, (), "")
        if rule.kind == "union":
            elements = sorted(part for part, siblings in parts.items() if _is_element(part) and any(siblings.values()))
            is_there = bool(elements) or any(parts.get("", {}).values())
            return Outcome(b"[" + ",".join(elements).encode() + b"]" if is_there else b"", None, (), "")
        siblings = self.siblings(Key(name))  # None, if a peer has said only parts of it.
        return judge(rule, siblings, evaluate) if siblings else Outcome(b"", None, (), "")

    def members(self, evaluate: Evaluate | None = None) -> dict[str, bytes]:
        """Its fields and what they are (JSON), in order, without those that were taken away."""
        return {name: value for name in self.names() if (value := self.outcome(name, evaluate).value)}

    def value(self, evaluate: Evaluate | None = None) -> bytes:
        """The object as canonical JSON; empty if there is none."""
        if not self.exists:
            return b""
        members = (msgspec.json.encode(name) + b":" + value for name, value in self.members(evaluate).items())
        return b"{" + b",".join(members) + b"}"

    def disputed(self) -> Iterator[str]:
        """Names of fields of which several writes stand side by side and one stands over the others."""
        seen = (key for key, siblings in self._fields.items() if len(siblings) > 1 and key != ROOT and not key.part)
        return iter(sorted(key.name for key in seen if self.rule(key.name).kind not in ("sum", "union")))

    def _rank(self, dot: Dot) -> tuple[bool, int, Dot]:
        return dot not in self.quarantined, self.writes[dot].stamp, dot

    # Kept and compared ------------------------------------------------------------------------------------------------

    def known(self) -> list[DocumentWritten]:
        """The writes that matter, none before one that its writer had seen: who is told these knows all there is to know, and
        who is told some of them and writes itself does not claim to have seen what is still to come."""
        return sorted(self.writes.values(), key=lambda write: (write.version, write.dot))

    def judged(self) -> list[tuple[Dot, int]]:
        """Those of them that are quarantined, and how far ahead they were."""
        return [(dot, self.quarantined[dot]) for dot in sorted(self.quarantined) if dot in self.writes]

    def state(self) -> bytes:
        """All that matters of it: equal wherever the same writes are known."""
        return msgspec.msgpack.encode((self.terms, self.known(), self.judged()))


def _is_element(part: str) -> bool:
    """Is it JSON? A peer may have said what is none."""
    try:
        return bool(part) and msgspec.json.decode(part) is not part
    except msgspec.DecodeError:
        return False


def _rule(text: str) -> Rule:
    """What a later version calls a rule is shown as the latest until this node is of that version, too."""
    try:
        return read_rule(text)
    except ValueError:
        return LWW


def _keys(write: DocumentWritten) -> list[Key]:
    said = [Key(each.name, each.part) for each in write.fields]
    return said if write.moves else [ROOT, *said]


def _values(write: DocumentWritten) -> dict[Key, bytes]:
    said = {Key(each.name, each.part): each.value for each in write.fields}
    said[ROOT] = b"" if write.deletes else _HERE
    return said

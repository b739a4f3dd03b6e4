"""What a majority held outlives one box after the other, if each new one has what the others hold before the next is lost."""

from dataclasses import dataclass, field
from random import Random

import hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.group.admin.checks import waits
from edge.group.repair.lacking import Lacking
from tiercel.v1.members_pb2 import ValuesLacking

SIZE = 5
ops = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2)),
    st.tuples(st.sampled_from(["away", "back", "repair", "lose"]), st.integers(0, 2)),
)
scripts = st.lists(ops, max_size=30)


@dataclass(slots=True)
class Three:
    """Three boxes that all have the log; what each holds, and which of them one reaches. `asks`: does a new one wait for what the
    others hold?"""

    asks: bool = True
    stores: list[set[bytes]] = field(default_factory=lambda: [set(), set(), set()])
    here: list[bool] = field(default_factory=lambda: [True] * 3)
    log: list[bytes] = field(default_factory=list)

    def write(self, lacks: int) -> None:
        """A value that two of the boxes have taken, which are here, before the log names it."""
        takers = [box for box in range(3) if self.here[box]]
        if len(takers) == 3:
            takers.remove(lacks)
        if len(takers) == 2:
            value = len(self.log).to_bytes(32)
            self.log.append(value)
            for box in takers:
                self.stores[box].add(value)

    def away(self, box: int) -> None:
        self.here = [each != box for each in range(3)]

    def back(self, box: int) -> None:
        self.here[box] = True

    def repair(self, box: int) -> None:
        """One comparison, and one transfer of what is lacking: others may go away in between."""
        lacking = self.compared(box)
        for digest in list(lacking.held)[:1]:
            self.stores[box].add(digest)

    def lose(self, box: int) -> None:
        """A box is gone for good. Another takes its place while the other two are here, and votes when nothing keeps it."""
        others = [each for each in range(3) if each != box]
        if not all(self.here[each] for each in others):
            return
        self.stores[box], self.here[box] = set(), True
        while self.asks and self.waits(box):
            self.repair(box)

    def compared(self, box: int) -> Lacking:
        """What the box finds when it asks those who are here."""
        named = {value: SIZE for value in self.log if value not in self.stores[box]}
        asked = [each for each in range(3) if each != box and self.here[each]]
        answers = {str(each): dict.fromkeys(named.keys() & self.stores[each], SIZE) for each in asked}
        lacking = Lacking()
        lacking.tell(named, answers, all_answered=len(asked) == 2)
        return lacking

    def waits(self, box: int) -> str:
        lacking = self.compared(box)
        said = ValuesLacking(missing=len(lacking.held), missing_bytes=lacking.missing_bytes, unheld=len(lacking.lost))
        return waits(said, 0, {str(each) for each in range(3) if self.here[each]})

    def lost(self) -> list[bytes]:
        """What is named and nowhere."""
        return [value for value in self.log if not any(value in store for store in self.stores)]


def lost_by(script: list[tuple[str, int]], *, asks: bool) -> list[bytes]:
    three = Three(asks)
    for what, box in script:
        getattr(three, what)(box)
    return three.lost()


@settings(max_examples=300)
@given(scripts)
def test_no_value_is_lost_with_one_box_after_the_other(script: list[tuple[str, int]]) -> None:
    """Whatever was written, away, repaired and replaced in between: two boxes hold each value again before the next one goes."""
    assert lost_by(script, asks=True) == []


def test_without_waiting_values_are_lost() -> None:
    """The shortest way: written to two, and both of them replaced, one after the other."""
    quiet = settings(database=None, max_examples=2_000)
    script = hypothesis.find(scripts, lambda script: bool(lost_by(script, asks=False)), settings=quiet, random=Random(1))
    assert [what for what, _ in script] == ["write", "lose", "lose"]
    assert lost_by(script, asks=True) == []

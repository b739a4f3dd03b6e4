"""A site's resources: all or nothing, in line, never above capacity, and no waiting without end."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from workflow.resources import HEAD_START, Holder, Needs, Resources

A, B, C, D = (Holder("r1", task) for task in range(4))
ONE: Needs = (("dock", 1),)


def test_what_nobody_declared_there_is_one_of() -> None:
    """The second waits until the first gives it back, and is then named as one that may begin."""
    table = Resources()
    assert table.take(A, ONE, 4, 1)
    assert not table.take(B, ONE, 4, 2)
    assert table.free(A) == [B]
    assert table.holds(B)
    assert table.free(B) == []
    assert list(table.in_use()) == [("dock", 1, 0, 0)]


def test_counted_resources_are_shared_up_to_their_capacity() -> None:
    """And a claim for none at all begins at once."""
    table = Resources()
    table.declare("pallet", 5)
    assert table.take(A, (("pallet", 3),), 4, 1)
    assert table.take(B, (("pallet", 2),), 4, 2)
    assert not table.take(C, (("pallet", 1),), 4, 3)
    assert table.take(D, (), 4, 4)
    assert list(table.in_use()) == [("pallet", 5, 5, 1)]


def test_the_first_in_line_keeps_its_place() -> None:
    """One that would need less does not overtake it, or whoever needs much would wait for ever."""
    table = Resources()
    table.declare("pallet", 3)
    assert table.take(A, (("pallet", 2),), 4, 1)
    assert not table.take(B, (("pallet", 3),), 4, 2)
    assert not table.take(C, (("pallet", 1),), 4, 3)
    assert table.free(A) == [B]
    assert table.free(B) == [C]


def test_all_or_nothing_in_one_order() -> None:
    """Two that name the same in opposite order do not take a part each and wait for the other."""
    table = Resources()
    assert table.take(A, (("dock", 1), ("crane", 1)), 4, 1)
    assert not table.take(B, (("crane", 1), ("dock", 1)), 4, 2)
    assert not table.take(C, (("dock", 1),), 4, 3)
    assert table.free(A) == [B]
    assert table.free(B) == [C]


def test_who_waits_for_its_first_resource_keeps_none_of_the_later_ones() -> None:
    """So a task inside a group that holds the crane gets the dock that another waits for behind the crane."""
    table = Resources()
    assert table.take(A, (("crane", 1),), 4, 1)
    assert not table.take(B, (("crane", 1), ("dock", 1)), 4, 2)
    assert table.take(C, ONE, 4, 3)
    assert table.free(C) == []
    assert table.free(A) == [B]


def test_urgent_claims_overtake_but_not_for_ever() -> None:
    """A step of priority is worth HEAD_START places in line, and no more."""
    table = Resources()
    assert table.take(A, ONE, 4, 1)
    assert not table.take(B, ONE, 4, 2)
    assert not table.take(C, ONE, 5, 2 + HEAD_START - 1)
    assert not table.take(D, ONE, 5, 2 + HEAD_START + 1)
    assert table.free(A) == [C]
    assert table.free(C) == [B]


def test_what_can_never_be_is_known_and_in_nobodys_way() -> None:
    """It waits aside, without any of the resources that it could have, until the capacity grows."""
    table = Resources()
    table.declare("pallet", 2)
    assert not table.take(A, (("dock", 1), ("pallet", 3)), 4, 1)
    wait = table.waiting_for(A)
    assert wait is not None
    assert str(wait) == "3 of pallet: there are only 2, so it can never begin"
    assert table.take(B, ONE, 4, 2)
    assert table.declare("pallet", 3) == []
    assert table.free(B) == [A]


def test_shrinking_takes_nothing_away() -> None:
    """What is held stays held; what waits, and can never be any more, gives back what was reserved for it."""
    table = Resources()
    table.declare("pallet", 4)
    assert table.take(A, (("pallet", 4),), 4, 1)
    assert not table.take(B, (("dock", 1), ("pallet", 3)), 4, 2)
    assert not table.take(C, ONE, 4, 3)
    assert table.declare("pallet", 2) == [C]
    assert table.holds(A)
    assert not table.holds(B)
    assert table.free(A) == []
    assert table.free(C) == []
    assert table.declare("pallet", 3) == [B]


def test_it_says_who_holds_what_one_waits_for() -> None:
    """With the place in line."""
    table = Resources()
    table.take(A, ONE, 4, 1)
    table.take(B, ONE, 4, 2)
    table.take(C, ONE, 4, 3)
    assert str(table.waiting_for(B)) == "1 of 1 dock, held by r1/0"
    assert str(table.waiting_for(C)) == "1 of 1 dock, held by r1/0; 1 before it in line"
    assert table.waiting_for(A) is None
    assert table.waiting_for(D) is None


def test_who_gives_up_waiting_lets_the_next_advance() -> None:
    """With what was reserved for it, too."""
    table = Resources()
    table.take(A, (("dock", 1),), 4, 1)
    assert not table.take(B, (("crane", 1), ("dock", 1)), 4, 2)
    assert not table.take(C, (("crane", 1),), 4, 3)
    assert table.free(B) == [C]


def test_after_a_restart_everybody_has_what_it_had() -> None:
    """Held again without being asked, even above a capacity that has shrunk meanwhile."""
    table = Resources()
    table.declare("pallet", 1)
    for holder in (A, B):
        table.hold(holder, (("pallet", 1),))
    assert not table.take(C, (("pallet", 1),), 9, 1)
    assert table.free(A) == []
    assert table.free(B) == [C]


# Laws

NAMES = ("crane", "dock", "forklift", "pallet")
needs = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4), max_size=3).map(lambda found: tuple(found.items()))
actions = st.lists(
    st.one_of(
        st.tuples(st.just("take"), needs, st.integers(0, 9)),
        st.tuples(st.just("free"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("declare"), st.sampled_from(NAMES), st.integers(0, 5)),
    ),
    max_size=60,
)


@dataclass
class Yard:
    """A table, and what must be true of it by what was asked and answered alone."""

    table: Resources = field(default_factory=Resources)
    capacity: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 1))
    claims: dict[Holder, tuple[Needs, int, int]] = field(default_factory=dict)
    held: dict[Holder, None] = field(default_factory=dict)
    seq: int = 0

    def act(self, what: str, first: object, second: object) -> None:
        if what == "take":
            assert isinstance(first, tuple)
            assert isinstance(second, int)
            self.take(first, second)
        elif what == "free":
            assert isinstance(first, int)
            among = list(self.held if second else self.claims)
            if among:
                self.free(among[first % len(among)])
        else:
            assert isinstance(first, str)
            assert isinstance(second, int)
            self.capacity[first] = second
            self.start(self.table.declare(first, second))
        self.check()

    def take(self, wanted: Needs, priority: int) -> None:
        self.seq += 1
        holder = Holder("r", self.seq)
        self.claims[holder] = (wanted, priority, self.seq)
        if self.table.take(holder, wanted, priority, self.seq):
            self.start([holder])

    def free(self, holder: Holder) -> None:
        del self.claims[holder]
        self.held.pop(holder, None)
        self.start(self.table.free(holder))

    def start(self, holders: list[Holder]) -> None:
        """Only what fits may begin, and nobody twice."""
        for holder in holders:
            assert holder not in self.held
            self.held[holder] = None
            for name, _ in self.claims[holder][0]:
                assert self.used(name) <= self.capacity[name], f"more {name} than there are"
        assert list(holders) == list(dict.fromkeys(holders))

    def used(self, name: str) -> int:
        return sum(units for holder in self.held for needed, units in self.claims[holder][0] if needed == name)

    def possible(self, holder: Holder) -> bool:
        return all(units <= self.capacity[name] for name, units in self.claims[holder][0])

    def check(self) -> None:
        table = {name: (capacity, used) for name, capacity, used, _ in self.table.in_use()}
        for name, (capacity, used) in table.items():
            assert capacity == self.capacity[name]
            assert self.used(name) <= used
        for holder, (wanted, _, _) in self.claims.items():
            wait = self.table.waiting_for(holder)
            assert (wait is None) == self.table.holds(holder) == (holder in self.held)
            if wait is not None:
                assert (wait.resource, wait.units) in wanted
                assert (wait.units > wait.capacity) is (not self.possible(holder))
                if wait.ahead == 0 and wait.units <= wait.capacity:
                    assert table[wait.resource][1] + wait.units > wait.capacity, "the first in line has room and waits"

    def finish(self) -> list[Holder]:
        """All holders give back what they have, the first first. The order in which the others got theirs."""
        order = []
        while self.held:
            before = list(self.held)
            self.free(before[0])
            order += [holder for holder in self.held if holder not in before]
            self.check()
        return order


@given(actions)
def test_the_table_keeps_its_laws(story: list[tuple[str, object, object]]) -> None:
    """Never above capacity; whoever is first and has room holds; all that can be is some time held; all comes back."""
    yard = Yard()
    for action in story:
        yard.act(*action)
    yard.finish()
    assert not any(yard.possible(holder) for holder in yard.claims), "it waits for ever"
    assert all(used == 0 for _, _, used, _ in yard.table.in_use())
    assert all(line == 0 for _, _, _, line in yard.table.in_use())


@given(st.lists(needs.filter(bool), min_size=1, max_size=20), st.integers(0, 9))
def test_equals_are_served_in_order(wanted: list[Needs], priority: int) -> None:
    """Of two of the same priority that need the same resources, however much of each, the first comes first."""
    yard = Yard(capacity=dict.fromkeys(NAMES, 4))
    for name in NAMES:
        yard.table.declare(name, 4)
    blocker = Holder("blocker", 0)
    assert yard.table.take(blocker, tuple((name, 4) for name in NAMES), 9, -1)
    yard.claims[blocker], yard.held[blocker] = (tuple((name, 4) for name in NAMES), 9, -1), None
    for each in wanted:
        yard.take(each, priority)
    order = yard.finish()
    for place, later in enumerate(order):
        for earlier in order[place + 1 :]:
            if earlier.task < later.task:
                assert names_of(wanted, earlier) != names_of(wanted, later)


def names_of(wanted: list[Needs], holder: Holder) -> set[str]:
    return {name for name, _ in wanted[holder.task - 1]}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=12), st.data())
def test_groups_that_hold_while_their_tasks_take_never_lock(groups: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """A group takes one resource and its task a later one by name; whatever the order of arrival, all come to their end."""
    table, outer, inner = Resources(), dict[Holder, int](), dict[Holder, int]()
    begun, done, seq = set[Holder](), set[Holder](), 0

    def begin(holders: list[Holder]) -> None:
        nonlocal seq
        for holder in holders:
            begun.add(holder)
            if holder.run == "group":
                seq += 1
                if table.take(Holder("task", holder.task), ((NAMES[inner[holder]], 1),), 4, seq):
                    begin([Holder("task", holder.task)])

    for number, (low, more, priority) in enumerate(groups):
        group = Holder("group", number)
        outer[group], inner[group] = low % 3, min(3, low % 3 + 1 + more % 2)
        seq += 1
        if table.take(group, ((NAMES[outer[group]], 1),), priority, seq):
            begin([group])
    for _ in range(len(groups)):
        ready = sorted(holder for holder in begun - done if holder.run == "task")
        assert ready, "they wait for each other"
        task = data.draw(st.sampled_from(ready))
        done |= {task, group := Holder("group", task.task)}
        begin(table.free(task))
        begin(table.free(group))
    assert len(done) == 2 * len(groups)

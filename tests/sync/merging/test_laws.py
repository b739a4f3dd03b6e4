"""What must hold of merging whatever is written where, and heard in whichever order."""

from hypothesis import example, given
from hypothesis import strategies as st

from sync.merging.dots import covers
from sync.merging.events import DocumentWritten
from tests.sync.merging.replicas import EDITS, NODES, STEPS, Replicas, fresh, play

Steps = list[tuple[str, str, object, int]]


@given(STEPS, st.data())
def test_the_order_in_which_writes_come_makes_no_difference(steps: Steps, data: st.DataObject) -> None:
    """Nor does it matter that some come twice: the state and the value are the same, and as where all were told what matters."""
    replicas = play(steps)
    shuffled = data.draw(st.permutations(replicas.told + replicas.told[::2]))
    one, other = fresh(replicas.told), fresh(shuffled)
    assert (one.state(), one.value()) == (other.state(), other.value())
    replicas.heal()
    assert {replicas.at(node).state() for node in NODES} == {one.state()}
    assert {replicas.at(node).value() for node in NODES} == {one.value()}


@given(STEPS, STEPS, STEPS)
def test_telling_is_commutative_associative_and_idempotent(one: Steps, two: Steps, three: Steps) -> None:
    """What follows from three sets of writes does not depend on which were joined first, nor on joining one twice."""
    parts = [play([*steps, ("merge", node, {"note": 1}, 1)]) for steps, node in zip((one, two, three), NODES, strict=True)]
    a, b, c = (written_by(node, part) for part, node in zip(parts, NODES, strict=True))
    assert fresh(a + b).state() == fresh(b + a).state()
    assert fresh([*fresh(a + b).known(), *c]).state() == fresh([*a, *fresh(b + c).known()]).state()
    assert fresh(a + a).state() == fresh(a).state()


def written_by(node: str, replicas: Replicas) -> list[DocumentWritten]:
    return [event for event in replicas.told if isinstance(event, DocumentWritten) and event.dot.writer == node]


@given(STEPS, EDITS, st.integers(0, 100))
def test_who_has_seen_a_write_stands_over_it(steps: Steps, edit: dict[str, object], clock: int) -> None:
    """Whatever the clocks say: right after an edit the node shows what it wrote, and nothing that it had seen beside it."""
    replicas = play(steps)
    replicas.heal()
    replicas.put("harbour", {"note": 0})
    written = replicas.edit("harbour", "merge", edit, clock)
    replicas.heal()
    if isinstance(written, DocumentWritten):
        shown = replicas.value("cloud")
        assert isinstance(shown, dict)
        for name in edit.keys() & {"note", "speed", "state", "progress", "low", "fact"}:
            assert shown.get(name) == edit[name]
    for known in (replicas.at(node) for node in NODES):
        for key in known.keys:
            siblings = known.siblings(key)
            assert not [s for s in siblings for other in siblings if covers(known.writes[other.dot].context, s.dot)]


@given(STEPS)
def test_no_write_is_lost(steps: Steps) -> None:
    """Of each field of each write: it is kept beside its rivals, or somebody who had seen it wrote otherwise."""
    replicas = play(steps)
    replicas.heal()
    known = replicas.at("cloud")
    writes = [event for event in replicas.told if isinstance(event, DocumentWritten)]
    for write in writes:
        kept = {each[:1] + each[2:] for each in known.writes[write.dot].fields} if write.dot in known.writes else set()
        for each in write.fields:
            seen_by = [
                other
                for other in writes
                if covers(other.context, write.dot) and each.name in {field.name for field in other.fields}
            ]
            assert (each.name, each.part) in kept or seen_by, f"{each} of {write.dot} is lost"


@given(STEPS)
def test_all_shares_together_are_never_more_than_there_is(steps: Steps) -> None:
    """In every interleaving the sum of all that was ever spent stays inside its bound, also where not all has been heard."""
    replicas = play(steps)
    whole = fresh(replicas.told)
    if "stock" in whole.names():
        assert 0 <= int(whole.outcome("stock").value) <= 10


@given(STEPS)
def test_what_is_saved_comes_back(steps: Steps) -> None:
    """The same bytes and the same values."""
    replicas = play(steps)
    for node in NODES:
        book = replicas.books[node]
        other = type(book)(node)
        other.restore(book.save())
        assert other.save() == book.save()
        assert other.value("shared/plan") == book.value("shared/plan")


def test_a_write_that_matters_is_all_that_is_told() -> None:
    """A hundred writes of one node, each over the last, are told as one."""
    replicas = Replicas()
    for number in range(100):
        replicas.put("harbour", {"note": number})
    assert [write.dot.counter for write in replicas.at("harbour").known()] == [100]
    replicas.tell("harbour", "airport")
    assert replicas.at("airport").state() == replicas.at("harbour").state()


HEARD_AND_WROTE_BESIDE: Steps = [
    ("put", "harbour", {"note": 1}, 1),
    ("tell", "harbour", "airport", 1_000),
    ("merge", "airport", {"speed": "run"}, 1),
]


@given(STEPS)
@example(HEARD_AND_WROTE_BESIDE)
def test_who_was_told_a_part_only_claims_to_have_seen_no_more(steps: Steps) -> None:
    """Nothing is told before what its writer had seen: a link may be cut anywhere, and who writes then overwrites that alone."""
    replicas = play(steps)
    replicas.heal()
    told = replicas.at("cloud").known()
    for number, write in enumerate(told):
        assert not [later for later in told[number:] if covers(write.context, later.dot)]


@given(STEPS)
def test_the_version_counts_the_writes_that_are_known(steps: Steps) -> None:
    """It grows with each that comes and changes something, and where all is known it is how many there ever were."""
    replicas = play(steps)
    replicas.heal()
    writes = [event for event in replicas.told if isinstance(event, DocumentWritten)]
    assert {replicas.at(node).version for node in NODES} == {len(writes)}
    heard = fresh([])
    for write in writes:
        before = heard.version
        assert heard.version > before if heard.apply(write) else heard.version == before

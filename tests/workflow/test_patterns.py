"""The workflow control-flow patterns (Russell, ter Hofstede, van der Aalst, Mulyar, 2006) as docs/patterns.md has them: each
definition is played, and does what defines its pattern."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.play import Busy, Play, Script, echo
from workflow.commands import CancelDone
from workflow.loading import load
from workflow.orders import EndChild, Signal
from workflow.steering_events import ChildRequested

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILES = {int(path.name[:2]): path for path in sorted((DOCS / "patterns").glob("*.yaml"))}

CHECKS: dict[int, Callable[["Pattern"], None]] = {}


class Pattern:
    """A definition of the page, to be played."""

    def __init__(self, number: int) -> None:
        self.text = FILES[number].read_text()

    def play(self, script: Script = echo, **inputs: Any) -> Play:
        return Play(load(self.text, "pattern.yaml").plan, script, inputs)


def shows(number: int) -> Callable[[Callable[[Pattern], None]], Callable[[Pattern], None]]:
    """The decorated function tells how the pattern of this number is recognised."""

    def keep(check: Callable[[Pattern], None]) -> Callable[[Pattern], None]:
        CHECKS[number] = check
        return check

    return keep


def busy(task: str, parameters: Any) -> Any:
    raise Busy


@pytest.mark.parametrize("number", sorted(FILES))
def test_a_pattern_does_what_defines_it(number: int) -> None:
    """Order, exclusivity, how often, what is cancelled."""
    CHECKS[number](Pattern(number))


def test_the_page_speaks_of_every_pattern() -> None:
    """All 43, in order; each that is supported includes its definition by name, and no definition is left out."""
    page = (DOCS / "patterns.md").read_text()
    assert [int(number) for number in re.findall(r"^\| WCP-(\d+) \|", page, re.MULTILINE)] == list(range(1, 44))
    assert set(re.findall(r"\(patterns/([^)]+)\)", page)) == {path.name for path in FILES.values()}
    assert set(FILES) == set(CHECKS) == set(range(1, 44))


# Basic control flow


@shows(1)
def _sequence(pattern: Pattern) -> None:
    """A task starts after the one before has completed."""
    assert pattern.play().run().done == ["verify", "charge", "ship"]


@shows(2)
def _parallel_split(pattern: Pattern) -> None:
    """Both branches are in hands at once."""

    def only_alarm(task: str, parameters: Any) -> Any:
        if task != "alarm":
            raise Busy

    assert len(pattern.play(only_alarm).run().fragment.live) == 2


@shows(3)
def _synchronization(pattern: Pattern) -> None:
    """The join comes after both, once."""
    played = pattern.play()
    played.step()
    assert "dispatch" not in played.begun
    played.step()
    assert played.run().done == ["check", "stamp", "dispatch"]


@shows(4)
def _exclusive_choice(pattern: Pattern) -> None:
    """One branch of two."""
    assert pattern.play(volume=5).run().done == ["measure", "clerk"]
    assert pattern.play(volume=500).run().done == ["measure", "director"]


@shows(5)
def _simple_merge(pattern: Pattern) -> None:
    """What follows starts with the one branch that was taken, without synchronization."""
    assert pattern.play(cash=True).run().done == ["pay-cash", "receipt"]
    assert pattern.play(cash=False).run().done == ["pay-card", "receipt"]


# Advanced branching and synchronization


@shows(6)
def _multi_choice(pattern: Pattern) -> None:
    """Any subset of the branches."""
    for chosen in ([], ["fire"], ["ambulance", "police"], ["ambulance", "fire", "police"]):
        assert sorted(pattern.play(services=chosen).run().done) == sorted(["call", *chosen])


@shows(7)
def _structured_synchronizing_merge(pattern: Pattern) -> None:
    """The merge waits for exactly the branches that were taken."""
    for chosen in (["police"], ["ambulance"], ["police", "ambulance"]):
        done = pattern.play(services=chosen).run().done
        assert done == ["call", *chosen, "transfer"]


@shows(8)
def _multi_merge(pattern: Pattern) -> None:
    """What follows is done once per branch, as soon as that arrives."""
    done = pattern.play().run().done
    assert [sum(f"[{n}].review" in name for name in done) for n in range(3)] == [1, 1, 1]
    assert all(done.index(f"prepare[{n}].branch") < done.index(f"prepare[{n}].review") for n in range(3))


@shows(9)
def _discriminator(pattern: Pattern) -> None:
    """The first branch starts it, the second is let run and starts nothing."""
    played = pattern.play()
    played.step()
    assert played.state("triage") == "ready"
    assert sorted(played.run().done) == ["breath", "pulse", "triage"]


@shows(28)
def _blocking_discriminator(pattern: Pattern) -> None:
    """Once per round; the next round is blocked until both branches of this one have come."""
    played = pattern.play().run()
    assert played.done == ["entry[0].one", "entry[0].check"]
    played.order(Signal("second"))
    assert played.run().done[2:] == ["entry[1].one", "entry[1].check"]
    played.order(Signal("second"))
    assert (played.run().fragment.outcome, played.done.count("entry[0].check")) == ("completed", 1)


@shows(29)
def _cancelling_discriminator(pattern: Pattern) -> None:
    """The first branch cancels the others."""
    played = pattern.play().run()
    assert (played.done, played.state("search.far"), played.fragment.outcome) == (
        ["search.near", "use"],
        "cancelled",
        "completed",
    )


@shows(30)
def _partial_join(pattern: Pattern) -> None:
    """Two of three start it once; the third goes on."""
    played = pattern.play().run()
    assert (played.done, played.state("three")) == (["one", "two", "approve"], "waiting")
    assert played.wait(3_601).done == ["one", "two", "approve"]
    assert played.fragment.outcome == "completed"


@shows(31)
def _blocking_partial_join(pattern: Pattern) -> None:
    """Once per round; the next round is blocked until all branches have come."""
    played = pattern.play().run()
    assert played.done == ["claims[0].one", "claims[0].two", "claims[0].approve"]
    played.order(Signal("third"))
    assert played.run().done[3:] == ["claims[1].one", "claims[1].two", "claims[1].approve"]


@shows(32)
def _cancelling_partial_join(pattern: Pattern) -> None:
    """Two of three cancel the third."""
    played = pattern.play().run()
    assert (played.state("quotes.three"), played.done[-1]) == ("cancelled", "choose")


@shows(33)
def _generalized_and_join(pattern: Pattern) -> None:
    """Triggers of one branch that come in a row wait for those of the other: as many joins as pairs."""
    played = pattern.play()
    for name in ("wheel", "wheel", "frame"):
        assert played.order(Signal(name)) == ""
    assert played.run().done == ["assemble[0].bicycle"]
    played.order(Signal("frame"))
    assert played.run().done == ["assemble[0].bicycle", "assemble[1].bicycle"]


@shows(37)
def _acyclic_merge(pattern: Pattern) -> None:
    """The merge knows of a branch that is not taken, however long it would have been."""
    assert pattern.play(long=False).run().done == ["a", "d", "merge"]
    assert sorted(pattern.play(long=True).run().done[:-1]) == ["a", "b", "c", "d"]


@shows(38)
def _general_merge(pattern: Pattern) -> None:
    """Waits for the loop if it is entered, and not otherwise."""
    assert pattern.play(loops=False).run().done == ["straight", "merge"]
    done = pattern.play(loops=True).run().done
    assert (done.count("merge"), done[-1], len(done)) == (1, "merge", 6)


@shows(41)
def _thread_merge(pattern: Pattern) -> None:
    """Three threads become one."""
    done = pattern.play().run().done
    assert done == ["counters[0]", "counters[1]", "counters[2]", "close"]


@shows(42)
def _thread_split(pattern: Pattern) -> None:
    """One thread becomes as many as are asked for."""
    assert len(pattern.play(threads=[1, 2, 3, 4]).run().done) == 5


# Multiple instances


@shows(12)
def _unsynchronized(pattern: Pattern) -> None:
    """What follows does not wait for the instances."""

    def only_others(task: str, parameters: Any) -> Any:
        if task.startswith("notice"):
            raise Busy

    played = pattern.play(only_others).run()
    assert (len(played.fragment.live), "file" in played.done) == (3, True)


@shows(13)
def _design_time(pattern: Pattern) -> None:
    """Exactly six, all before what follows."""
    done = pattern.play().run().done
    assert (len(done), done[-1]) == (7, "publish")


def _found(faults: list[str], task: str, parameters: Any) -> Any:
    return {"faults": faults}


@shows(14)
def _run_time(pattern: Pattern) -> None:
    """As many as the run finds out, also none."""
    for faults in (["oil", "brakes"], []):
        played = pattern.play(partial(_found, faults)).run()
        assert played.done == ["diagnose", *(f"repair[{n}]" for n in range(len(faults))), "test"]


@shows(15)
def _unknown(pattern: Pattern) -> None:
    """Another instance can be asked for while one is under way; all are waited for."""
    played = pattern.play()
    played.order(Signal("witness", {"name": "ann", "last": False}))
    assert "report" not in played.run().done
    played.order(Signal("witness", {"name": "bob", "last": True}))
    assert played.run().done == ["witnesses[0].hear", "witnesses[1].hear", "report"]


@shows(34)
def _static_join(pattern: Pattern) -> None:
    """Two of three instances are enough; the third may still end."""
    played = pattern.play()
    played.order(Signal("reviewed"))
    assert played.run().done == []
    played.order(Signal("reviewed"))
    assert (played.run().done, played.state("review[2]")) == (["decide"], "waiting")
    played.order(Signal("reviewed"))
    assert (played.fragment.outcome, played.state("review[2]")) == ("completed", "completed")


@shows(35)
def _cancelling_join_of_instances(pattern: Pattern) -> None:
    """The first instance cancels the others."""
    played = pattern.play()
    played.order(Signal("fetched"))
    states = [played.run().state(f"download[{n}]") for n in range(3)]
    assert (states, played.done) == (["completed", "cancelled", "cancelled"], ["unpack"])


@shows(36)
def _dynamic_join(pattern: Pattern) -> None:
    """Whether there is another instance is decided while the run goes on."""
    played = pattern.play(lambda task, parameters: {"confidence": 40 * (parameters.get("sample", 0) + 1)}).run()
    assert played.done == ["samples[0]", "samples[1]", "samples[2]", "conclude"]


# State


@shows(16)
def _deferred_choice(pattern: Pattern) -> None:
    """The first event decides; the other branch is withdrawn at that moment."""
    answered = pattern.play()
    answered.order(Signal("answer"))
    assert answered.state("deadline") == "cancelled"
    assert (answered.run().done, answered.fragment.outcome) == (["handle"], "completed")
    late = pattern.play().wait(3_601)
    assert (late.done, late.state("answer"), late.fragment.outcome) == (["remind"], "cancelled", "completed")


def _one_at_a_time(pattern: Pattern) -> list[str]:
    """The order in which tasks begin when agents take whatever they are given; never two of them at once."""
    played, order = pattern.play(busy), list[str]()
    while not played.fragment.outcome:
        played.run()
        (task,) = played.fragment.live
        order.append(played.fragment.id_of(task))
        played.complete(task)
    return order


@shows(17)
def _interleaved_parallel_routing(pattern: Pattern) -> None:
    """One at a time, and the partial order holds."""
    order = _one_at_a_time(pattern)
    assert sorted(order) == ["calibrate", "label", "weigh"]
    assert order.index("weigh") < order.index("label")


@shows(18)
def _milestone(pattern: Pattern) -> None:
    """Enabled while the milestone holds: not before, not after."""
    early = pattern.play()
    early.order(Signal("enrol"))
    early.run()
    assert early.state("enrol") == "waiting"
    early.order(Signal("enrol"))
    assert early.run().done == ["open", "register"]
    late = pattern.play().run().wait(86_401)
    late.order(Signal("enrol"))
    assert (late.done, late.state("enrol"), late.fragment.outcome) == (["open"], "cancelled", "completed")


@shows(39)
def _critical_section(pattern: Pattern) -> None:
    """Of two groups only one is active at a time."""
    order = _one_at_a_time(pattern)
    assert order in (["red.ink", "red.print", "blue.ink", "blue.print"], ["blue.ink", "blue.print", "red.ink", "red.print"])


@shows(40)
def _interleaved_routing(pattern: Pattern) -> None:
    """Each once, in any order, never two at once."""
    order = _one_at_a_time(pattern)
    assert (len(order), order[-1]) == (4, "drive")


# Cancellation, iteration, termination, triggers


@shows(19)
def _cancel_task(pattern: Pattern) -> None:
    """The task is withdrawn, and what would have followed does not come."""
    played = pattern.play().run()
    assert (played.done, played.state("assess"), played.state("report")) == (["withdraw"], "cancelled", "skipped")
    assert played.fragment.outcome == "completed"


@shows(20)
def _cancel_case(pattern: Pattern) -> None:
    """The whole run is withdrawn: nothing begins any more."""
    played = pattern.play(busy).run()
    played.cancel()
    (task,) = played.fragment.live
    played.decide(CancelDone(task, 1, "anna"))
    assert (played.run().begun, played.fragment.outcome) == (["one"], "cancelled")


@shows(25)
def _cancel_region(pattern: Pattern) -> None:
    """A group with all inside, and a task elsewhere; what is outside goes on."""
    played = pattern.play()
    played.order(Signal("withdrawn"))
    stopped = ("assess", "assess.valuate", "assess.offer", "inspect")
    assert {played.run().state(task) for task in stopped} == {"cancelled"}
    assert (played.done, played.fragment.outcome) == (["reject"], "completed")


@shows(26)
def _cancel_instances(pattern: Pattern) -> None:
    """Instances that have ended stay, the others are withdrawn, and what follows does not come."""
    played = pattern.play()
    played.order(Signal("offer"))
    played.order(Signal("stop"))
    assert [played.state(f"offers[{n}]") for n in range(3)] == ["completed", "cancelled", "cancelled"]
    assert (played.state("offers"), played.run().done, played.fragment.outcome) == ("cancelled", [], "completed")


@shows(27)
def _complete_instances(pattern: Pattern) -> None:
    """Instances that have not ended are withdrawn, and what follows comes."""
    played = pattern.play()
    played.order(Signal("reply"))
    played.order(Signal("enough"))
    assert [played.state(f"survey.sample[{n}]") for n in range(3)] == ["completed", "cancelled", "cancelled"]
    assert (played.run().done, played.fragment.outcome) == (["evaluate"], "completed")


@shows(21)
def _structured_loop(pattern: Pattern) -> None:
    """Rounds until the condition holds."""
    played = pattern.play(lambda task, parameters: {"smooth": parameters.get("round", 0) == 2}).run()
    assert played.done == ["polish[0]", "polish[1]", "polish[2]", "sell"]


def _sent_on(left: Iterator[str], task: str, parameters: Any) -> Any:
    """Each desk says where the paper goes from there."""
    return {"to": next(left)} if task.endswith((".draft", ".review", ".legal")) else parameters


@shows(10)
def _arbitrary_cycles(pattern: Pattern) -> None:
    """It is entered at any desk, goes on from each to any other, back too, and is left from any."""
    ways = (["draft", "out"], ["legal", "review", "legal", "draft", "legal", "draft", "review", "out"])
    for first, *way in ways:
        left = iter(way)
        played = pattern.play(partial(_sent_on, left), first=first).run()
        visited = [name.partition(".")[2] for name in played.done if not name.endswith(".go")]
        assert (visited, played.done[-1], played.fragment.outcome) == ([first, *way[:-1], ""], "publish", "completed")


@shows(22)
def _recursion(pattern: Pattern) -> None:
    """A run starts another of its own definition, and waits for it."""
    played = pattern.play(depth=1).run()
    asked = next(event for event in played.events if isinstance(event, ChildRequested))
    assert (asked.definition, asked.inputs) == ("recursion", b'{"depth":0}')
    inner = pattern.play(depth=0).run()
    assert inner.fragment.outcome == "completed"
    played.order(EndChild(asked.child, inner.fragment.outcome))
    assert played.fragment.outcome == "completed"


@shows(23)
def _transient_trigger(pattern: Pattern) -> None:
    """Lost if nobody waits for it."""
    played = pattern.play()
    played.order(Signal("overflow"))
    assert played.run().state("overflow") == "waiting"
    played.order(Signal("overflow"))
    assert played.run().done == ["fill", "close-valve"]


@shows(24)
def _persistent_trigger(pattern: Pattern) -> None:
    """Kept until somebody waits for it."""
    played = pattern.play()
    played.order(Signal("parts-arrived"))
    assert played.run().done == ["prepare", "build"]


@shows(11)
def _implicit_termination(pattern: Pattern) -> None:
    """The run ends when nothing is left to do, and not before."""
    played = pattern.play()
    for left in (2, 1):
        played.step()
        assert (played.fragment.open, played.fragment.outcome) == (left, "")
    assert played.run().fragment.outcome == "completed"


@shows(43)
def _explicit_termination(pattern: Pattern) -> None:
    """One task ends the run, and what else there is with it."""
    played = pattern.play()
    played.order(Signal("dawn"))
    assert played.states() == {"patrol": "cancelled", "guard": "cancelled", "dawn": "completed"}
    assert played.fragment.outcome == "completed"


def test_a_failure_can_cancel_the_case() -> None:
    """The rule of the page's definition is compiled with it."""
    played = Pattern(20).play()
    assert [rule.action for rule in played.plan.rules] == ["cancel"]

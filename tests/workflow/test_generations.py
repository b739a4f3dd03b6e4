"""What is done anew has another key than what was done before; a repeated attempt has the same."""

from typing import Any

from tests.workflow.play import Jam, play
from workflow.orders import Rerun, Retry, RollBack

W = {"capability": "work"}


def test_an_attempt_that_is_repeated_keeps_its_key() -> None:
    """Attempts of one generation stand for one effect."""
    tries: list[str] = []

    def script(task: str, parameters: Any) -> Any:
        tries.append(task)
        if len(tries) < 3:
            raise Jam(retryable=True)
        return 1

    done = play({"a": {**W, "retry": {"max_attempts": 5, "delay": 1}}}, script).run()
    done.wait(60)
    done.wait(60)
    assert (len(tries), done.keys, done.fragment.outcome) == (3, ["a#1"], "completed")


def test_what_is_done_anew_has_a_new_key() -> None:
    """A rerun, a rollback and a person's retry count; a task that had not been given out does not."""
    done = play({"a": W, "b": {"needs": ["a"]}, "c": {"needs": ["b"]}, "z": {"wait": {"signal": "go"}, "needs": ["c"]}})
    done.step()
    done.step()
    assert done.order(Rerun("b")) == ""
    done.run()
    assert done.keys == ["a#1", "b#1", "b#2", "c#1"]
    assert done.order(RollBack(task="a")) == ""
    done.run()
    assert done.keys[4:] == ["a#2", "b#3", "c#2"]


def test_a_person_who_retries_wants_the_effect_once_more() -> None:
    """Also what had failed: its effect may be half there, under the old key."""

    def script(task: str, parameters: Any) -> Any:
        if task == "a" and "a" not in done.begun[:-1]:
            raise Jam
        return 1

    done = play({"a": {**W, "recovery": ["incident"]}}, lambda task, parameters: 1)
    done.script = script
    done.run()
    assert done.order(Retry()) == ""
    done.run()
    assert (done.keys, done.fragment.outcome) == (["a#2"], "completed")


def test_copies_made_anew_have_new_keys_though_the_same_names() -> None:
    """Also after one copy had been retried by itself, and inside a map inside a map. Numbers may be left out."""
    inner = {"map": {"over": "item", "tasks": {"deep": W}}}
    tasks = {"m": {"map": {"over": "inputs.rows", "tasks": {"in": inner}}}, "z": {"wait": {"signal": "go"}, "needs": ["m"]}}
    done = play(tasks, inputs={"rows": [[1, 2], [3]]}).run()
    assert done.order(Rerun("m[0][1]")) == ""
    done.run()
    assert done.keys == ["m[0][0]#1", "m[0][1]#1", "m[1][0]#1", "m[0][1]#2"]
    assert done.order(Rerun("m[0]")) == ""
    done.run()
    assert done.keys[4:] == ["m[0][0]#3", "m[0][1]#3"]
    assert done.order(Rerun("m")) == ""
    done.run()
    assert done.keys[6:] == ["m[0][0]#5", "m[0][1]#5", "m[1][0]#5"]


def test_a_validator_judges_each_output_under_a_key_of_its_own() -> None:
    """Else one that keeps what it said would say it again of another output. So does what cleans up."""
    verdicts = iter([False, True])

    def script(task: str, parameters: Any) -> Any:
        return next(verdicts) if task == "a:validate" else 1

    served = {**W, "validate": {"capability": "judge"}, "cleanup": {"capability": "sweep"}, "retry": {"delay": 1}}
    done = play({"a": served, "z": {"wait": {"signal": "go"}, "needs": ["a"]}}, script).run().wait(60)
    assert done.keys == ["a:validate#1", "a:validate#2", "a#1", "a:cleanup#1"]
    verdicts = iter([True])
    assert done.order(Rerun("a")) == ""
    done.run()
    assert done.keys[4:] == ["a:validate#3", "a#2", "a:cleanup#2"]


def test_a_recovery_inside_a_map_is_used_as_often_as_it_may() -> None:
    """Going back makes other copies, and what is in the same place in them has used it before; the item around is seen inside."""

    def torn(task: str, parameters: object) -> object:
        seen.append(parameters)
        raise Jam

    seen: list[object] = []
    inner = {"capability": "work", "recovery": ["restore"], "retry": {"max_attempts": 1}, "with": {"item": "${{ item }}"}}
    rounds = {"repeat": {"while": "index < 1", "max": 2, "tasks": {"x": inner}}}
    failed = play({"m": {"map": {"over": "[7]", "tasks": {"r": rounds}}}}, script=torn).run()
    assert (failed.fragment.outcome, seen) == ("failed", [{"item": 7}] * 2)

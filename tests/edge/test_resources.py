"""What a site has of its resources is said when it is started, and holds again after every start."""

import pytest

from edge.main import units_of
from tests.edge.site import Site
from tests.workflow.plans import plan_of


def test_units_are_written_as_name_and_number() -> None:
    """The last word on a name counts; anything else is refused, with what is allowed."""
    assert units_of(["forklift=2", "gate=0", "forklift=3"]) == {"forklift": 3, "gate": 0}
    for wrong in ("forklift", "=2", "forklift=-1", "forklift=two", "forklift=1000001"):
        with pytest.raises(ValueError, match="allowed is name=units"):
            units_of([wrong])


def test_what_is_held_is_held_again_after_a_restart() -> None:
    """Also by a group: nobody else gets it in between, and whoever waited begins when it is given back."""
    site = Site()
    group = {"sequential": {"tasks": {"x": {"capability": "work"}, "y": {"capability": "work"}}}, "resources": ["gate"]}
    site.release(plan_of({"g": group}, name="group"), "r1")
    anna = site.join()
    site.release(plan_of({"b": {"resources": ["gate"]}}, name="one"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    site.restart()
    site.join()
    assert site.states("r2") == ["waiting_for_resource"]
    for task in (1, 2):
        site.done(anna, "r1", task)
    assert (site.outcome("r1"), site.states("r2")) == ("completed", ["running"])
    site.done(anna, "r2")
    assert site.outcome("r2") == "completed"

"""A small machine for tests: a player that is off, on (stopped, or playing slowly or fast), or held."""

from workflow.machine import Composite, Machine

PLAYER = Machine.build(
    "the player",
    {
        "off": None,
        "on": Composite(
            {"stopped": None, "playing": Composite({"slow": None, "fast": None}, initial="slow")},
            initial="stopped",
            history=True,
        ),
        "held": None,
    },
    {
        "off": ["on"],
        "on": ["off", "held", "on"],
        "on.stopped": ["on.playing"],
        "on.playing": ["on.stopped", "on.playing.fast"],
        "held": ["on.*", "off"],
    },
    initial="off",
    final=["off"],
)

"""What can happen to standing rules, as facts."""

from workflow.events import Event, register


class RuleRegistered(Event, frozen=True):
    """A standing rule holds from here on; `document` is its canonical JSON. In the cloud's stream for a site it holds there from
    the moment the site has it."""

    name: str
    document: bytes
    at_ms: int


class RuleRemoved(Event, frozen=True):
    """It holds no longer."""

    name: str


class RuleRefused(Event, frozen=True):
    """The site cannot obey the rule: it is of an older version than the cloud that checked it."""

    name: str
    reason: str


register(RuleRegistered, RuleRemoved, RuleRefused)

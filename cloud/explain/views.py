"""The answer to the question why a run does not go on."""

import msgspec

from cloud.views import LinkView
from workflow.explain import Reason


class SiteReasons(msgspec.Struct, omit_defaults=True):
    """What holds up the part of a run at one site."""

    site: str
    link: LinkView
    reasons: list[Reason] = []
    note: str = ""


class ExplainView(msgspec.Struct, omit_defaults=True):
    """A run's state; what it waits for as a whole, before any site has it; and the reasons of its tasks, by site."""

    run: str
    state: str
    waits_for: str = ""
    sites: list[SiteReasons] = []

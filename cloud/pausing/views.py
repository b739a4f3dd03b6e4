"""What the cloud shows of a site that an operator has paused."""

import msgspec

from cloud.fleet import SitePause
from cloud.views import LinkView, PauseView


class SitePauseView(msgspec.Struct):
    """What has become of an order to pause a site or to let it go on, and the link to it. `pause` is null once it is active."""

    site: str
    state: str
    pause: PauseView | None
    link: LinkView


def pause_view(pause: SitePause | None) -> PauseView | None:
    """A pause as it is shown."""
    return PauseView(pause.state, pause.since_ms, pause.reason) if pause is not None else None

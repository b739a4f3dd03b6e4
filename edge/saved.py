"""What of a site is no fragment, in a snapshot."""

import msgspec

from workflow.schedules import ScheduleState


class SavedSite(msgspec.Struct, array_like=True):
    """The roster as its own bytes, the schedules, what each Part saves. Fields are only added at the end, with a default."""

    roster: bytes
    schedules: list[ScheduleState] = []
    parts: dict[str, bytes] = {}


def save_site(roster: bytes, schedules: list[ScheduleState], parts: dict[str, bytes]) -> bytes:
    """All of it as bytes."""
    return msgspec.msgpack.encode(SavedSite(roster, schedules, parts))


def load_saved_site(body: bytes) -> SavedSite:
    """Read what `save_site` wrote, or the bare roster of a log from before there were schedules."""
    try:
        return _SITE.decode(body)
    except msgspec.ValidationError:
        return SavedSite(body)


_SITE = msgspec.msgpack.Decoder(SavedSite)

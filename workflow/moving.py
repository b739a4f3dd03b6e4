"""A fragment on its way from one home to the next: when it can go, and as what it arrives."""

import zlib

import msgspec

from sync.values import RunId
from workflow.attending import holds_resources
from workflow.events import TaskLost
from workflow.fragment import Fragment
from workflow.plan import Plan
from workflow.saved import load_saved, restore
from workflow.states import RECONCILE
from workflow.tasks import Effect

PLAIN_BYTES_MAX = 256 << 10
STATE_BYTES_MAX = 3 << 20
"""A packed state goes in one event, and a message of a link has 4 MiB at most."""
UNPACKED_BYTES_MAX = 64 << 20

_PLAIN, _PACKED = b"\x00", b"\x01"


def stays_for(fragment: Fragment) -> str:
    """What must come to its end here before the fragment can go, as people say it; empty if nothing."""
    if fragment.stopping:
        return "the run is being stopped, and ends here"
    if fragment.live:
        task, attempt = min(fragment.live.items())
        return f"{fragment.id_of(task)} is in the hands of {attempt.agent}: it goes once that is done"
    for task, state in enumerate(fragment.states):
        if state == RECONCILE:
            return f"the outcome of {fragment.id_of(task)} is unknown: settle it"
        if fragment.task(task).resources and holds_resources(fragment, task):
            return f"{fragment.id_of(task)} holds resources of this site: it goes once that has ended"
    return ""


def state_for(fragment: Fragment, site: str, epoch: int) -> bytes:
    """The fragment as it begins at its next home."""
    saved = load_saved(fragment.save())
    saved = msgspec.structs.replace(saved, site=site, epoch=epoch)
    if saved.extras is not None:
        saved.extras.yielding = ""
    body = msgspec.msgpack.encode(saved)
    return _PLAIN + body if len(body) <= PLAIN_BYTES_MAX else _PACKED + zlib.compress(body, 6)


def without_hands(fragment: Fragment, why: str) -> Fragment:
    """A copy in which nobody has anything in hand: of attempts that somebody had, the outcome is unknown. What may be repeated is
    given out anew; all else waits until its outcome is told or settled."""
    copy = restore(Fragment, fragment.run, fragment.plan, load_saved(fragment.save()))
    for task, attempt in sorted(fragment.live.items()):
        redeliver = fragment.task(task).effect is Effect.REPEATABLE
        copy.evolve(TaskLost(task, attempt.number, why, redeliver))
    if copy.extras is not None:
        copy.extras.taken.clear()  # Resources of that site; they are asked for anew.
    copy.quiet()
    return copy


def restore_moved(run: str, plan: Plan, body: bytes) -> Fragment:
    """The fragment of which `state_for` wrote the state."""
    return restore(Fragment, RunId(run), plan, load_saved(_plain(body)))


def definition_of(body: bytes) -> str:
    """Which definition the fragment is of."""
    return load_saved(_plain(body)).definition


def _plain(body: bytes) -> bytes:
    if body[:1] == _PLAIN:
        return body[1:]
    stream = zlib.decompressobj()
    plain = stream.decompress(body[1:], UNPACKED_BYTES_MAX)
    if not stream.eof:
        raise ValueError(f"a state that was moved has more than {UNPACKED_BYTES_MAX:,} bytes, or is cut short")
    return plain

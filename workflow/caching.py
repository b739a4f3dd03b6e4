"""Results that are kept for other runs: under which key, which tasks may take one, and what is recorded of a new one.

Equal work of different runs, and of different definitions, shares: the key is that of the definition together with the capability
(or the agent). Only its SHA-256 is kept, so what a key holds is in no log. A result that was taken is checked like one that an
agent gave, by what *this* definition promises of it.
"""

from hashlib import sha256
from typing import TYPE_CHECKING

from sync.values import Now
from workflow.cache_events import ResultCached
from workflow.event import Event
from workflow.events import TaskCompleted
from workflow.expression import ExpressionError
from workflow.generations import generation_of
from workflow.looking import scope_of
from workflow.tasks import TaskPlan

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def work_of(plan: TaskPlan) -> str:
    """What a task asks for: a capability, or an agent."""
    return plan.capability or f"@{plan.agent}"


def digest_of(work: str, key: bytes) -> str:
    """Under which key a result of `work` is kept; `key` is a JSON string."""
    return sha256(work.encode() + b"\0" + key).hexdigest()


def key_of(fragment: "Fragment", task: int) -> str:
    """The key of a task with a cache, from what it reads. Raises ExpressionError."""
    plan = fragment.task(task)
    assert plan.cache is not None, f"task {plan.id} has no cache"
    return digest_of(work_of(plan), plan.cache.key.render(scope_of(fragment, task)))


def may_take(fragment: "Fragment", task: int) -> bool:
    """May the task be done by a result that is kept? Not after a failure, nor once it is to be done anew: then the work itself is
    wanted."""
    if (fragment.failures or {}).get(task):
        return False
    return _is_plain_work(fragment, task) and generation_of(fragment, task) == 0


def kept(fragment: "Fragment", done: TaskCompleted, now: Now) -> list[Event]:
    """What an agent has given is kept if its definition says so; a result that came from a cache begins no new life."""
    plan = fragment.task(done.task)
    if plan.cache is None or not done.attempt or not _is_plain_work(fragment, done.task):
        return []
    try:
        key = key_of(fragment, done.task)
    except ExpressionError:
        return []  # It could be told when the task began: what it reads is gone since, and the result is no worse for it.
    until_ms = now.wall_ms + plan.cache.lifetime_ms
    name = fragment.id_of(done.task)
    return [ResultCached(done.task, key, until_ms, work_of(plan), name, done.output, done.blob)]


def _is_plain_work(fragment: "Fragment", task: int) -> bool:
    """False of a task with parameters that a person gave: the key knows nothing of them."""
    return fragment.extras is None or task not in fragment.extras.overrides

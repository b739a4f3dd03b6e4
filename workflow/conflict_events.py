"""The events of conflicts, made known to the codec of the log."""

from sync.conflicts.events import EVENTS
from workflow.events import register

register(*EVENTS)

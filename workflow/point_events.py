"""The events of sync points, made known to the codec of the log."""

from sync.points.events import EVENTS
from workflow.events import register

__all__ = ["EVENTS"]

register(*EVENTS)

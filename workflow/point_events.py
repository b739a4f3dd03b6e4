"""The events of sync points, made known to the codec of the log."""

from sync.points.events import EVENTS
from sync.points.relaying import PointAsked, PointTold
from workflow.events import register

__all__ = ["EVENTS"]

register(*EVENTS, PointAsked, PointTold)

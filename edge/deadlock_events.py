"""The events of circles of waits, made known to the codec of a site's log."""

from coordination.deadlock_events import EVENTS
from workflow.events import register

register(*EVENTS)

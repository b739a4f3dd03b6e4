"""The events of leaders, made known to the codec of the cloud."""

from coordination.leading import EVENTS
from workflow.events import register

register(*EVENTS)

"""The events of what is held and waited for at sites, made known to the codec of the cloud."""

from coordination.lease_events import EVENTS
from workflow.events import register

register(*EVENTS)

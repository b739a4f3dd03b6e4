"""The events of leases on resources, made known to the codec of a site's log."""

from coordination.lease_events import EVENTS
from workflow.events import register

register(*EVENTS)

"""The events of what is held and waited for, made known to the codec of the cloud."""

from coordination.deadlock_events import EVENTS as DEADLOCKS
from coordination.lease_events import EVENTS as LEASES
from workflow.events import register

register(*LEASES, *DEADLOCKS)

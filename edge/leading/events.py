"""The events of leaders, made known to the codec of a site's log."""

from coordination.leading import EVENTS, ORDERS
from workflow.events import register

register(*EVENTS, *ORDERS)

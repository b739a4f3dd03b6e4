"""The events of documents of several writers, made known to the codec of the log."""

from sync.merging.events import EVENTS
from workflow.events import register

register(*EVENTS)

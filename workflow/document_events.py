"""The events of documents, made known to the codec of the log."""

from sync.documents.events import EVENTS
from workflow.events import register

register(*EVENTS)

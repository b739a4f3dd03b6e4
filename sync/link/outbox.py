"""What a link has to say beside events: bounded, and in the order of its importance. Pure.

A peer that does not read costs no memory: acknowledgements, credit, heartbeats and telemetry keep their latest word only, and
of the rest (requests and answers) there are at most `WAITING_MAX`. What of telemetry nobody got to hear is counted.
"""

from collections import deque
from dataclasses import dataclass, field

from sync.replication import LinkRefused
from tiercel.v1 import sync_pb2

WAITING_MAX = 4_096
REPORTS_KEPT_MAX = 2_000


@dataclass(slots=True)
class Outbox:
    """Messages that wait for the connection. `lost`: messages of telemetry that were replaced or dropped."""

    lost: int = 0
    _acks: dict[str, int] = field(default_factory=dict)
    _credit_events: int = 0
    _credit_bytes: int = 0
    _echo: sync_pb2.SyncMessage | None = None
    _beat: sync_pb2.SyncMessage | None = None
    _others: deque[sync_pb2.SyncMessage] = field(default_factory=deque)
    _refused: sync_pb2.SyncMessage | None = None
    _loads: sync_pb2.SyncMessage | None = None
    _reports: dict[tuple[str, int], sync_pb2.TaskReport] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many messages wait."""
        single = (self._echo, self._beat, self._refused, self._loads)
        credit = bool(self._credit_events or self._credit_bytes)
        return len(self._acks) + credit + sum(m is not None for m in single) + len(self._others) + bool(self._reports)

    def say(self, message: sync_pb2.SyncMessage) -> None:
        """Keep a message until it can be written. Raises LinkRefused if the peer has let too many wait."""
        match message.WhichOneof("kind"):
            case "ack":
                self._acks[message.ack.stream] = max(message.ack.seq, self._acks.get(message.ack.stream, 0))
            case "credit":
                self._credit_events += message.credit.events
                self._credit_bytes += message.credit.bytes
            case "heartbeat" if message.heartbeat.echo:
                self._echo = message
            case "heartbeat":
                self._beat = message
            case "refused":
                self._refused = self._refused or message
            case "loads":
                self.lost += self._loads is not None
                self._loads = message
            case "reports":
                self._report(message.reports)
            case _ if len(self._others) >= WAITING_MAX:
                words = f"{WAITING_MAX:,} messages wait for a peer that does not read them"
                raise LinkRefused("does_not_read", words, fatal=False)
            case _:
                self._others.append(message)

    def _report(self, reports: sync_pb2.TaskReports) -> None:
        for item in reports.items:
            key = item.run, item.task
            self.lost += self._reports.pop(key, None) is not None
            self._reports[key] = item
        while len(self._reports) > REPORTS_KEPT_MAX:
            del self._reports[next(iter(self._reports))]
            self.lost += 1

    def take(self) -> sync_pb2.SyncMessage | None:
        """What goes next: what the peer waits for, then signs of life, then requests and answers, telemetry last."""
        if self._acks:
            stream, seq = self._acks.popitem()
            return sync_pb2.SyncMessage(ack=sync_pb2.EventAck(stream=stream, seq=seq))
        if self._credit_events or self._credit_bytes:
            credit = sync_pb2.Credit(events=self._credit_events, bytes=self._credit_bytes)
            self._credit_events = self._credit_bytes = 0
            return sync_pb2.SyncMessage(credit=credit)
        for name in ("_echo", "_beat"):
            if (message := getattr(self, name)) is not None:
                setattr(self, name, None)
                return message  # type: ignore[no-any-return]
        if self._others:
            return self._others.popleft()
        return self._take_last()

    def _take_last(self) -> sync_pb2.SyncMessage | None:
        if self._refused is not None:
            refused, self._refused = self._refused, None
            return refused
        if self._loads is not None:
            loads, self._loads = self._loads, None
            return loads
        if self._reports:
            items, self._reports = list(self._reports.values()), {}
            return sync_pb2.SyncMessage(reports=sync_pb2.TaskReports(items=items))
        return None

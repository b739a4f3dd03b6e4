"""A gateway of a few lines: real gRPC on a Unix socket, with assignments made by hand.

It runs in threads (not in grpc.aio), so that the agents' own event loop is the only one in the process.
"""

import itertools
import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from tiercel.v1 import agent_pb2, agent_pb2_grpc

WAIT_S = 30.0


class Gateway(agent_pb2_grpc.AgentServiceServicer):
    """Takes registrations, hands out assignments, collects results. `acknowledging` may be turned off."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix:{socket}"
        self.acknowledging = True
        self.refusing: dict[str, str] = {}
        self.registered: queue.Queue[agent_pb2.Register] = queue.Queue()
        self.results: queue.Queue[tuple[str, agent_pb2.TaskResult]] = queue.Queue()
        self.goodbyes: queue.Queue[str] = queue.Queue()
        self._sessions: dict[str, queue.Queue[agent_pb2.EdgeMessage | None]] = {}
        self._lock = threading.Lock()
        self._runs = itertools.count(1)
        self._server = grpc.server(ThreadPoolExecutor(32))
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        """The gateway dies: every session is cut."""
        with self._lock:
            for outbox in self._sessions.values():
                outbox.put(None)
        self._server.stop(grace=0).wait()

    def await_agents(self, *names: str) -> dict[str, agent_pb2.Register]:
        """Wait until all of them have registered."""
        seen: dict[str, agent_pb2.Register] = {}
        while not set(names) <= seen.keys():
            register = self.registered.get(timeout=WAIT_S)
            seen[register.agent] = register
        return seen

    def assign(self, agent: str, capability: str, run: str = "", attempt: int = 1, effect: int = 1, **parameters: Any) -> str:
        """Give an agent one task; the run's id."""
        run = run or f"run-{next(self._runs)}"
        assignment = agent_pb2.Assignment(
            key=agent_pb2.AttemptKey(run=run, task=0, attempt=attempt, epoch=attempt),
            task_name="task",
            capability=capability,
            parameters=json.dumps(parameters).encode(),
            effect=effect,  # type: ignore[arg-type]
        )
        with self._lock:
            self._sessions[agent].put(agent_pb2.EdgeMessage(assignments=agent_pb2.Assignments(items=[assignment])))
        return run

    def next_result(self) -> tuple[str, agent_pb2.TaskResult]:
        """(agent, result), in the order of arrival."""
        return self.results.get(timeout=WAIT_S)

    def perform(self, agent: str, capability: str, **parameters: Any) -> Any:
        """Assign and wait for the output; a failure's (code, retryable)."""
        run = self.assign(agent, capability, **parameters)
        name, result = self.next_result()
        assert (name, result.key.run) == (agent, run)
        if result.WhichOneof("outcome") == "failure":
            return result.failure.code, result.failure.retryable
        return json.loads(result.output)

    def Connect(  # noqa: N802 - The name that the protocol has.
        self, request_iterator: Iterator[agent_pb2.AgentMessage], context: grpc.ServicerContext
    ) -> Iterator[agent_pb2.EdgeMessage]:
        register = next(request_iterator).register
        outbox: queue.Queue[agent_pb2.EdgeMessage | None] = queue.Queue()
        if register.agent in self.refusing:
            refused = agent_pb2.Refused(code=self.refusing[register.agent], message="not here")
            yield agent_pb2.EdgeMessage(refused=refused)
            return
        with self._lock:
            self._sessions[register.agent] = outbox
        threading.Thread(target=self._read, args=(register.agent, request_iterator, outbox), daemon=True).start()
        yield agent_pb2.EdgeMessage(
            welcome=agent_pb2.Welcome(protocol_version=1, site="harbour", lease_ms=30_000, heartbeat_ms=500)
        )
        self.registered.put(register)
        while (message := outbox.get()) is not None:
            yield message

    def _read(self, agent: str, messages: Iterator[agent_pb2.AgentMessage], outbox: "queue.Queue[Any]") -> None:
        try:
            for message in messages:
                self._take(agent, message, outbox)
        except grpc.RpcError:
            pass  # The agent, or this gateway, went away.
        outbox.put(None)

    def _take(self, agent: str, message: agent_pb2.AgentMessage, outbox: "queue.Queue[Any]") -> None:
        match message.WhichOneof("kind"):
            case "heartbeat":
                ack = agent_pb2.HeartbeatAck(id=message.heartbeat.id)
                outbox.put(agent_pb2.EdgeMessage(heartbeat_ack=ack))
            case "results":
                for result in message.results.items:
                    self.results.put((agent, result))
                if self.acknowledging:
                    acks = agent_pb2.ResultAcks(items=[result.key for result in message.results.items])
                    outbox.put(agent_pb2.EdgeMessage(result_acks=acks))
            case "goodbye":
                self.goodbyes.put(agent)

"""A client of the cloud's API: start runs, look at them, watch them. Needs the extra `cli` of tiercel-sdk.

with Client("http://127.0.0.1:8003") as client:
    run = client.start("fulfilment", {"order": "o-1"})
    print(client.run(run["id"], wait_s=30)["run"]["state"])
"""

import json
import os
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote, urlencode

import httpx

from tiercel.answers import (
    AgentStatus,
    ApiError,
    Command,
    Definition,
    Diff,
    HistoryPage,
    Run,
    RunPage,
    RunRequest,
    RunTotals,
    ServerUnreachable,
    Site,
    Started,
)
from tiercel.bodies import encoded
from tiercel.conflict_calls import ConflictCalls
from tiercel.coordination_calls import CoordinationCalls
from tiercel.document_calls import DocumentCalls
from tiercel.listening import Listening
from tiercel.plan_calls import PlanCalls
from tiercel.point_calls import PointCalls
from tiercel.wait_calls import WaitCalls

__all__ = ["DEFAULT_SERVER", "ApiError", "Client", "ServerUnreachable"]

DEFAULT_SERVER = "http://127.0.0.1:8003"
ANSWER_S_MAX = 30.0
"""How long to wait for an answer, beyond the time that the request itself asks to wait."""
DEFINITION_S_PER_MIB = 10.0
"""How much longer for each MiB of a definition: a server that has other work reads YAML at some 200 KiB/s, JSON faster."""


class Client(Listening, DocumentCalls, ConflictCalls, PlanCalls, PointCalls, CoordinationCalls, WaitCalls):
    """Each method is one request. Raises ApiError (the API refused) or ServerUnreachable. May be used by several threads."""

    def __init__(self, base_url: str = DEFAULT_SERVER) -> None:
        self.base_url = base_url.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca) if (ca := os.environ.get("TIERCEL_CA")) else True
        self._http = httpx.Client(timeout=ANSWER_S_MAX, trust_env=self._proxied, verify=self._tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def start(
        self,
        definition: str | dict[str, object],
        inputs: dict[str, object] | None = None,
        labels: dict[str, str] | None = None,
        *,
        priority: int | None = None,
        fairness_key: str = "",
        after: Sequence[dict[str, object]] = (),
        idempotency_key: str = "",
        consistency: str | dict[str, object] = "",
        autonomy: str | dict[str, object] = "",
    ) -> Started:
        """Start a run of `name@version`, `name` (the latest) or a document. It is durable once this returns.

        Of runs that wait for a free place the most urgent (`priority` from 0 to 9) go first; of those, each fairness key in
        its turn. It begins only after what `after` names (see `depend`). Asked again under the same idempotency key it starts
        nothing and answers as before; the same key with other content is refused. `consistency` and `autonomy`: as in a
        definition, if not what that says.
        """
        body: dict[str, object] = {"definition": definition, "inputs": inputs or {}, "labels": labels or {}}
        body |= ({"priority": priority} if priority is not None else {}) | (
            {"fairness_key": fairness_key} if fairness_key else {}
        )
        body |= {"after": list(after)} if after else {}
        body |= {name: said for name, said in (("consistency", consistency), ("autonomy", autonomy)) if said}
        return cast(Started, self._post("/api/v1/workflows", body, idempotency_key))

    def start_batch(
        self, definition: str | dict[str, object], runs: Sequence[RunRequest], *, idempotency_key: str = ""
    ) -> list[Started]:
        """Start up to 1,000 runs of one definition; each item of the answer tells of one, in order, `error` if refused."""
        body: dict[str, object] = {"definition": definition, "runs": list(runs)}
        return cast(list[Started], self._post("/api/v1/workflows:batch", body, idempotency_key)["items"])

    def runs(
        self, *, state: str = "", limit: int = 100, cursor: str = "", labels: dict[str, str] | None = None, **wanted: str
    ) -> RunPage:
        """Some runs, the newest first, at most 1,000; `next` is the cursor that leads on, empty at the end: before it a page may
        be short. `wanted` are definition, site, parent, created_after, created_before, ended_after, ended_before (moments as
        RFC 3339 or UTC ms)."""
        given = {"state": state, **wanted}
        parameters = [*given.items(), ("limit", str(limit)), ("cursor", cursor)]
        parameters += [("label", f"{name}={text}") for name, text in (labels or {}).items()]
        path = f"/api/v1/workflows?{urlencode([(name, text) for name, text in parameters if text])}"
        return cast(RunPage, self._request("GET", path))

    def run(
        self, run: str, *, wait_s: float = 0.0, at: str | int = "", version: int = -1, fresh: dict[str, str] | None = None
    ) -> Run:
        """The whole picture of a run; waits until it has ended, but at most `wait_s` (60 at most). With `at` (RFC 3339 or UTC ms)
        or `version` (of its one fragment), as it was then. `fresh`: `consistency`, `max_staleness` and `min_version`, as of
        documents; what is outside of them is refused (`staleness_exceeded`)."""
        if at or version >= 0:
            return cast(Run, self._request("GET", _path("workflows", run), {"at": at} if at else {"version": version}))
        return cast(Run, self._request("GET", _path("workflows", run), {"wait": wait_s, **(fresh or {})}, wait_s=wait_s))

    def checkpoints(self, run: str) -> dict[str, Any]:
        """What the run can be taken back to: of each home the last `kept` tasks that were completed, and all with a name."""
        return self._request("GET", f"{_path('workflows', run)}/checkpoints")

    def cancel(self, run: str, *, reason: str = "", wait_s: float = 2.0, idempotency_key: str = "") -> Run | Command:
        """Cancel a run; the run once it has ended. If its homes do not answer within `wait_s` (the API says 202), the command."""
        parameters: dict[str, str | float] = {"wait": wait_s, "reason": reason}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        return cast(Run | Command, self._request("DELETE", _path("workflows", run), parameters, headers=headers, wait_s=wait_s))

    def order(self, run: str, verb: str, *, wait_s: float = 2.0, idempotency_key: str = "", **fields: Any) -> Run | Command:
        """Ask for something of a run: pause, resume, terminate, signal, update, prioritise, retry, skip, rerun, rollback,
        checkpoint, decide, settle, hold, lift. `fields` are the order's own.

        The run once its homes have done so. If they do not answer within `wait_s` (the API says 202), the command. Asked again
        under the same key it is no second order, and gets what has become of the first.
        """
        path = f"{_path('workflows', run)}/{verb}"
        return cast(Run | Command, self._send(path, fields, {"wait": wait_s}, wait_s=wait_s, key=idempotency_key))

    def order_many(
        self,
        verb: str,
        wanted: dict[str, Any],
        arguments: dict[str, Any] | None = None,
        *,
        wait_s: float = 2.0,
        idempotency_key: str = "",
    ) -> dict[str, Any]:
        """The same for all runs that fit `wanted` (state, definition, site, labels, ids), 1,000 at most; each once per key."""
        body = {"verb": verb, "filter": wanted, "arguments": arguments or {}}
        return self._send("/api/v1/workflows:bulk", body, {"wait": wait_s}, wait_s=wait_s, key=idempotency_key)

    def fork(
        self,
        run: str,
        *,
        from_task: str = "",
        inputs: dict[str, object] | None = None,
        labels: dict[str, str] | None = None,
        idempotency_key: str = "",
    ) -> dict[str, Any]:
        """Start a new run like this one, with its inputs but for those given. It begins with `from_task` and takes over what was
        done before; without, it begins at the beginning. Asked again under the same idempotency key it starts nothing."""
        body: dict[str, object] = {"from_task": from_task, "inputs": inputs or {}}
        body |= {"labels": labels} if labels is not None else {}
        return self._post(f"{_path('workflows', run)}/fork", body, idempotency_key)

    def query(self, run: str, name: str) -> dict[str, Any]:
        """The value that a query of the run's definition has now, and how old it may be (`as_of`, UTC ms)."""
        return self._request("GET", f"{_path('workflows', run)}/query/{quote(name, safe='')}")

    def approvals(self) -> list[dict[str, Any]]:
        """The requests that wait for somebody's decision, over all runs."""
        return self._items("/api/v1/approvals")

    def incidents(self) -> list[dict[str, Any]]:
        """The tasks that wait for a person, over all runs, and what a person can do."""
        return self._items("/api/v1/incidents")

    def depend(self, run: str, waits: Sequence[dict[str, Any]], *, wait_s: float = 2.0) -> list[dict[str, Any]]:
        """Let a run begin, or a `task` of it, only after others: each has `on` (a run, RUN/TASK or `{run, task}`) and `kind`
        (after_success, after_failure, after_end); `when`, `select`, `into` and `schema` as in docs/dependencies.md. All of them
        or none; `unanswered` are sites that have not heard yet."""
        path, content = f"{_path('workflows', run)}/dependencies", json.dumps(list(waits), allow_nan=False).encode()
        headers = {"Content-Type": "application/json"}
        found = self._request("POST", path, {"wait": wait_s}, content=content, headers=headers, wait_s=wait_s)
        return cast(list[dict[str, Any]], found["items"])

    def dependencies(self, run: str) -> dict[str, Any]:
        """What the run waits for (`waits_for`), and who waits for it (`waited_for_by`)."""
        return self._request("GET", f"{_path('workflows', run)}/dependencies")

    def remove_dependency(self, run: str, dependency: str, *, reason: str = "") -> dict[str, Any]:
        """Let the run wait no longer by this one."""
        path = f"{_path('workflows', run)}/dependencies/{quote(dependency, safe='')}"
        return self._request("DELETE", path, {"reason": reason})

    def history(self, run: str, *, after: int = 0, limit: int = 100) -> HistoryPage:
        """Events of a run, at most 1,000; `next` is the `after` that leads on, 0 at the end."""
        path = f"{_path('workflows', run)}/history"
        return cast(HistoryPage, self._request("GET", path, {"after": after, "limit": limit}))

    def site_autonomy(self, site: str) -> dict[str, Any]:
        """How a site stands to the cloud (`mode`: connected, degraded, autonomous, contained), and what its runs may do alone."""
        return self._request("GET", f"{_path('sites', site)}/autonomy")

    def explain(self, run: str) -> dict[str, Any]:
        """Why the run does not go on: for each task that has not ended what it waits for, and who can help, by site."""
        return self._request("GET", f"{_path('workflows', run)}/explain")

    def register(self, text: str, *, source: str = "<request>", media: str = "application/yaml") -> Definition:
        """Register a definition (YAML or JSON). The same again is fine; other content under its version is refused.

        `source` is how refusals name the text.
        """
        return self._define("/api/v1/definitions", text, source, media)

    def validate(self, text: str, *, source: str = "<request>", media: str = "application/yaml") -> Definition:
        """Check a definition (YAML or JSON) without registering it."""
        return self._define("/api/v1/definitions:validate", text, source, media)

    def definitions(self) -> list[Definition]:
        return cast(list[Definition], self._items("/api/v1/definitions"))

    def definition(self, ref: str) -> Definition:
        return cast(Definition, self._request("GET", _path("definitions", ref)))

    def _define(self, path: str, text: str, source: str, media: str) -> Definition:
        content, headers = text.encode(), {"Content-Type": media}
        wait_s = definition_s(len(content))
        return cast(Definition, self._request("POST", path, {"source": source}, content=content, headers=headers, wait_s=wait_s))

    def create_schedule(self, document: dict[str, Any]) -> dict[str, Any]:
        """Keep a schedule: `id`, `definition`, `cron` or `every`, and what else it says. The very same again changes nothing."""
        return self._post("/api/v1/schedules", document, "")

    def schedules(self) -> list[dict[str, Any]]:
        """All of them, by id; each with its next firing alone."""
        found: list[dict[str, Any]] = []
        cursor, more = "", True
        while more:
            page = self._request("GET", "/api/v1/schedules", {"limit": 200, "cursor": cursor})
            found += page["items"]
            cursor, more = page["next"], bool(page["next"])
        return found

    def schedule(self, schedule: str) -> dict[str, Any]:
        return self._request("GET", _path("schedules", schedule))

    def order_schedule(self, schedule: str, order: str, reason: str = "", *, idempotency_key: str = "") -> dict[str, Any]:
        """`pause`, `resume` or `run-now`. Of a schedule that a site decides for, `orders` says what is on its way.

        `run-now` asked again under the same key starts nothing.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        parameters: dict[str, str | float] | None = {"reason": reason} if reason else None
        return self._request("POST", f"{_path('schedules', schedule)}:{order}", parameters, headers=headers)

    def backfill_schedule(self, schedule: str, first: str, last: str) -> dict[str, Any]:
        """Make the firings from `first` to `last` (ISO 8601 with an offset) that have no run yet, 1,000 at most."""
        return self._post(f"{_path('schedules', schedule)}:backfill", {"from": first, "until": last}, "")

    def delete_schedule(self, schedule: str) -> dict[str, Any]:
        """Remove it. Runs that it has started go on."""
        return self._request("DELETE", _path("schedules", schedule))

    def set_contact(self, name: str, urls: Sequence[str], secret: str = "") -> dict[str, Any]:
        """Let notifications for `name` (a person, `role:name`, or `*`) go to these addresses, signed if there is a secret."""
        content = json.dumps({"urls": list(urls), "secret": secret}).encode()
        return self._request("PUT", _path("contacts", name), content=content, headers={"Content-Type": "application/json"})

    def contacts(self) -> list[dict[str, Any]]:
        return self._items("/api/v1/contacts")

    def remove_contact(self, name: str) -> dict[str, Any]:
        """Forget how to reach `name`; what it was."""
        return self._request("DELETE", _path("contacts", name))

    def notifications(self, *, state: str = "", limit: int = 100) -> dict[str, Any]:
        """The latest, newest first (of one state: pending, delivered, failed, undeliverable); how many are pending."""
        return self._request("GET", "/api/v1/notifications", {"state": state, "limit": limit})

    def retry_notification(self, notification: str) -> dict[str, Any]:
        """Try one again that was given up, or that had no address."""
        return self._request("POST", f"{_path('notifications', notification)}/retry")

    def add_rule(self, text: str, *, source: str = "<request>", media: str = "application/yaml") -> dict[str, Any]:
        """Add a standing rule (YAML or JSON). The very same again is fine; another one under its name is refused."""
        headers = {"Content-Type": media}
        return self._request("POST", "/api/v1/rules", {"source": source}, content=text.encode(), headers=headers)

    def rules(self) -> list[dict[str, Any]]:
        return self._items("/api/v1/rules")

    def rule(self, name: str) -> dict[str, Any]:
        return self._request("GET", _path("rules", name))

    def remove_rule(self, name: str) -> dict[str, Any]:
        """Remove a standing rule; what it was."""
        return self._request("DELETE", _path("rules", name))

    def agent(self, site: str, agent: str) -> dict[str, Any]:
        """One agent: where it is in its life and was before, its lease, what it holds, and how old that picture is."""
        return self._request("GET", f"{_path('agents', site)}/{quote(agent, safe='')}")

    def agent_workflows(self, site: str, agent: str) -> dict[str, Any]:
        """The runs that have to do with an agent: `active` ones, and `recent` ones that it worked for."""
        return self._request("GET", f"{_path('agents', site)}/{quote(agent, safe='')}/workflows")

    def agents(self) -> list[AgentStatus]:
        return cast(list[AgentStatus], self._items("/api/v1/agents"))

    def sites(self) -> list[Site]:
        return cast(list[Site], self._items("/api/v1/sites"))

    def pause_site(self, site: str, reason: str = "", *, wait_s: float = 2.0) -> dict[str, Any]:
        """Let nothing new start at a site. `state` is pausing while the site has not taken the order (the API says 202)."""
        return self._send(f"{_path('sites', site)}/pause", {"reason": reason}, {"wait": wait_s}, wait_s=wait_s)

    def resume_site(self, site: str, reason: str = "", *, wait_s: float = 2.0) -> dict[str, Any]:
        """Let a paused site go on. `state` is resuming while the site has not taken the order (the API says 202)."""
        return self._send(f"{_path('sites', site)}/resume", {"reason": reason}, {"wait": wait_s}, wait_s=wait_s)

    def sync_status(self, site: str) -> dict[str, Any]:
        """How the link to a site stands: what each side lacks of the other in events, bytes and ms, refusals, round trip."""
        return self._request("GET", f"{_path('sites', site)}/sync")

    def sync_now(self, site: str = "", *, wait_s: float = 10.0) -> dict[str, Any]:
        """Have a site, or all, level with the cloud as of now, and hear what moved; those that are away are named."""
        return self._send(_path("state", "sync"), {"site": site}, {"wait": wait_s}, wait_s=wait_s)

    def move(self, run: str, to: str = "", reason: str = "", *, force: bool = False, wait_s: float = 2.0) -> dict[str, Any]:
        """Let a run go on at another site; `force`: take it from one that does not answer, which needs a reason. `state` is
        moving while it is not there (the API says 202)."""
        asked = {"to": to, "reason": reason, "force": force}
        return self._send(f"{_path('workflows', run)}/move", asked, {"wait": wait_s}, wait_s=wait_s)

    def drain_site(self, site: str, to: str = "", reason: str = "", *, wait_s: float = 2.0) -> dict[str, Any]:
        """Empty a site: nothing new is placed there, and what can goes to other sites. What is left, and why."""
        return self._send(f"{_path('sites', site)}/drain", {"to": to, "reason": reason}, {"wait": wait_s}, wait_s=wait_s)

    def undrain_site(self, site: str) -> dict[str, Any]:
        """Let a site be as others again; what has not left it stays."""
        return self._request("DELETE", f"{_path('sites', site)}/drain")

    def site_drain(self, site: str) -> dict[str, Any]:
        """How far the draining of a site is."""
        return self._request("GET", f"{_path('sites', site)}/drain")

    def run_totals(self) -> list[RunTotals]:
        """How the ended runs went: first of all definitions, then of each."""
        return cast(list[RunTotals], self._items("/api/v1/metrics/runs"))

    def diff(self, site: str) -> Diff:
        """Compare what the cloud and the site hold of each fragment at equal versions."""
        return cast(Diff, self._request("GET", f"{_path('sites', site)}/diff"))

    def clear_cache(self, site: str, *, capability: str = "", agent: str = "", key: str = "", wait_s: float = 2.0) -> Command:
        """Let a site keep results no more: all, those of a capability or an agent, or of these that under `key`. The command: it
        is pending if the site has not answered within `wait_s`, and done as soon as the site can be reached."""
        asked = {"capability": capability, "agent": agent, "key": key}
        path = f"{_path('sites', site)}/cache/clear"
        return cast(Command, self._send(path, asked, {"wait": wait_s}, wait_s=wait_s))

    def command(self, command: str) -> Command:
        return cast(Command, self._request("GET", _path("commands", command)))

    def retention(self) -> dict[str, Any]:
        """What the cloud keeps of runs that have ended, and what it has cut."""
        return self._request("GET", "/api/v1/retention")

    def run_retention(self, *, wait_s: float = 2.0) -> dict[str, Any]:
        """Cut what is no longer kept now; the same once that is done, or after `wait_s` (then `running`)."""
        return self._request("POST", "/api/v1/retention:run", {"wait": wait_s}, wait_s=wait_s)

    def verify(self) -> list[dict[str, Any]]:
        """Let the cloud check every chain of its log, which may take long; one entry per stream."""
        return self._items("/api/v1/log/verify", answer_s=3_600.0)

    def _items(self, path: str, *, answer_s: float = 0.0) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self._request("GET", path, wait_s=answer_s)["items"])

    def _post(self, path: str, body: dict[str, object], key: str) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return self._request("POST", path, content=encoded(body), headers=headers)

    def _send(
        self, path: str, body: dict[str, Any], parameters: dict[str, str | float], *, wait_s: float = 0.0, key: str = ""
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        content = encoded(body)
        return self._request("POST", path, parameters, content=content, headers=headers, wait_s=wait_s)

    def _request(
        self,
        method: str,
        path: str,
        params: dict[str, str | float] | None = None,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> dict[str, Any]:
        timeout = httpx.Timeout(ANSWER_S_MAX, read=ANSWER_S_MAX + wait_s)
        try:
            answer = self._http.request(
                method, self.base_url + path, params=params, content=content, headers=headers, timeout=timeout
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ServerUnreachable(self.base_url, str(error) or type(error).__name__) from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code == 204:
            return {}
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ServerUnreachable(self.base_url, f"it answers {answer.status_code}, but not as Tiercel's API does")
        if answer.is_success:
            return document
        detail = str(document.get("detail", answer.reason_phrase))
        raise ApiError(answer.status_code, str(document.get("code", "")), detail, document.get("problems"))


def definition_s(size: int) -> float:
    """How long a definition of so many bytes may take to be read and checked, beyond what any answer may take."""
    return size / (1 << 20) * DEFINITION_S_PER_MIB


def _path(kind: str, id: str) -> str:
    """An id may hold any character: it stays one segment of the path."""
    return f"/api/v1/{kind}/{quote(id, safe='@')}"

"""HTTP calls against a real server on this machine."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents.http import Http, HttpPolicy
from tests.agents.attempts import context
from tiercel import RetryableError, TerminalError


class Service(BaseHTTPRequestHandler):
    """Answers by path; tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        kind, _, rest = self.path[1:].partition("/")
        match kind:
            case "echo":
                told = {"method": self.command, "headers": dict(self.headers), "body": body}
                self.answer(200, json.dumps(told).encode(), "application/json")
            case "status":
                self.answer(int(rest), b"because", "text/plain", Location="/echo")
            case "bytes":
                self.answer(200, b"x" * int(rest), "application/octet-stream")
            case "binary":
                self.answer(200, b"\xff\xfe\x00", "application/octet-stream")
            case "liar":
                self.answer(200, b"<html>", "application/json")
            case "cookie":
                self.answer(200, b"", "text/plain", **{"Set-Cookie": "session=mine"})
            case "slow":
                threading.Event().wait(30)
            case "cut":
                self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server finds its methods by these names.

    def answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def call(*urls: str, policy: HttpPolicy | None = None, **more: Any) -> dict[str, Any]:
    """Call one after the other as one agent would; the last answer."""

    async def calls() -> dict[str, Any]:
        http = Http(policy or HttpPolicy(allowed_hosts=(urls[0].split("/")[2],)))
        try:
            answers = [await http.request(context(), url, **more) for url in urls]
        finally:
            await http.close()
        return answers[-1]

    return asyncio.run(calls())


def port_of(url: str) -> str:
    return url.split("/")[2].partition(":")[2]


def test_json_goes_both_ways(service: str) -> None:
    """A JSON body arrives as JSON, and a JSON answer comes back as a value."""
    answer = call(f"{service}/echo", method="POST", json={"sku": "A", "n": 2}, headers={"X-Site": "harbour"})
    assert (answer["status"], answer["json"]["method"]) == (200, "POST")
    assert json.loads(answer["json"]["body"]) == {"sku": "A", "n": 2}
    assert answer["json"]["headers"]["X-Site"] == "harbour"
    assert answer["headers"]["content-type"] == "application/json"


def test_changes_carry_the_idempotency_key(service: str) -> None:
    """What changes something tells the other side its key, unless the workflow chose one; a reading call does not."""
    key = "Idempotency-Key"
    assert call(f"{service}/echo", method="PUT", body="x")["json"]["headers"][key] == "run-1/write"
    chosen = call(f"{service}/echo", method="POST", headers={"idempotency-key": "mine"})["json"]["headers"]
    assert {name.lower(): value for name, value in chosen.items()}[key.lower()] == "mine"
    assert key not in call(f"{service}/echo")["json"]["headers"]


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 301, 308])
def test_statuses_that_will_not_change_are_terminal(service: str, status: int) -> None:
    """They end the task under a stable code, with what the other side said; redirects are not followed."""
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/status/{status}")
    assert caught.value.code == f"http_{status}"
    assert ("redirected to /echo" if status < 400 else "because") in str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_statuses_that_may_pass_are_retryable(service: str, status: int) -> None:
    """They leave another attempt to the task's retry policy."""
    with pytest.raises(RetryableError) as caught:
        call(f"{service}/status/{status}")
    assert caught.value.code == f"http_{status}"


def test_a_status_may_be_accepted(service: str) -> None:
    """What the workflow expects is an answer and no failure."""
    assert call(f"{service}/status/404", accept_statuses=[404])["text"] == "because"


def test_bytes_come_as_base64(service: str) -> None:
    """An answer that is no text is still an answer."""
    assert call(f"{service}/binary")["base64"] == "//4A"


def test_the_answer_is_bounded(service: str) -> None:
    """At the limit it is read, above it the call ends with `http_too_large`."""
    policy = HttpPolicy(allowed_hosts=(f"127.0.0.1:{port_of(service)}",), response_bytes_max=1000)
    assert call(f"{service}/bytes/1000", policy=policy)["bytes"] == 1000
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/bytes/1001", policy=policy)
    assert caught.value.code == "http_too_large"


def test_a_false_json_is_named(service: str) -> None:
    """An answer that calls itself JSON and is none is `http_invalid`."""
    with pytest.raises(TerminalError) as caught:
        call(f"{service}/liar")
    assert caught.value.code == "http_invalid"


@pytest.mark.parametrize(("path", "code"), [("slow", "http_timeout"), ("cut", "http_unreachable")])
def test_weather_is_retryable(service: str, path: str, code: str) -> None:
    """No answer in time, and a connection that is cut, may pass."""
    with pytest.raises(RetryableError) as caught:
        call(f"{service}/{path}", timeout_s=0.3 if path == "slow" else 30)
    assert caught.value.code == code


def test_nobody_there_is_retryable() -> None:
    """A port on which nobody listens is `http_unreachable`."""
    with pytest.raises(RetryableError) as caught:
        call("http://127.0.0.1:1/x")
    assert caught.value.code == "http_unreachable"


@pytest.mark.parametrize(
    ("url", "allowed", "fine"),
    [
        ("http://{here}/echo", ("{here}",), True),
        ("http://{here}/echo", ("127.0.0.1",), False),
        ("http://{here}/echo", (), False),
        ("http://{here}/echo", ("*.0.0.1:{port}",), True),
        ("http://user@{here}/echo", ("user",), False),
        ("http://localhost:{port}/echo", ("{here}",), False),
        ("http://evil.example", ("*.good.example", "good.example"), False),
        ("http://notgood.example", ("*.good.example", "good.example"), False),
    ],
)
def test_only_allowed_hosts_are_called(service: str, url: str, allowed: tuple[str, ...], fine: bool) -> None:
    """A host must be listed, with its port if it is not the usual one."""
    here = service.removeprefix("http://")
    names = {"here": here, "port": port_of(service)}
    policy = HttpPolicy(allowed_hosts=tuple(entry.format(**names) for entry in allowed))
    if fine:
        assert call(url.format(**names), policy=policy)["status"] == 200
        return
    with pytest.raises(TerminalError) as caught:
        call(url.format(**names), policy=policy)
    assert caught.value.code == "http_refused"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "/echo", "http://", "http://x:y/"])
def test_what_is_no_address_is_terminal(url: str) -> None:
    """Another scheme, or no host, can never be called."""
    with pytest.raises(TerminalError) as caught:
        call(url, policy=HttpPolicy(allowed_hosts=("127.0.0.1",)))
    assert caught.value.code == "http_invalid"


def test_no_cookie_is_kept(service: str) -> None:
    """What one call was given, the next does not carry: it may belong to another run."""
    assert "Cookie" not in call(f"{service}/cookie", f"{service}/echo")["json"]["headers"]


def test_a_body_is_given_once(service: str) -> None:
    """Two bodies are a mistake of the workflow."""
    with pytest.raises(TerminalError, match="not both"):
        call(f"{service}/echo", method="POST", json={}, body="x")

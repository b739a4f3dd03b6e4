"""`http`, also called `api_call` and `http.request`: one call to a service that the host's configuration allows.

A workflow names the address, and workflows come from many people; so the hosts that may be called are listed in the
configuration of the agent host, redirects are not followed, and the answer is bounded.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Any, Literal

import httpx
import msgspec

from agents.circuits import Circuits
from agents.transform import json_select
from coordination.breaker import BreakerPolicy
from tiercel import TaskContext
from tiercel.errors import RetryableError, TerminalError

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

Timeout = Annotated[float, msgspec.Meta(gt=0, le=3600)]

RETRY_AFTER_S_MAX = 86_400

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed later (RFC 9110, RFC 8470, RFC 6585)."""


SPARED = frozenset({"http_408", "http_425", "http_429"})
"""Retryable answers of an endpoint that works: its circuit stays closed."""


class HttpPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `http` may reach. An entry is `host`, `host:port` or `*.domain`; without a port the usual ones are meant. `breaker`
    says when an endpoint that keeps failing is left alone."""

    allowed_hosts: tuple[str, ...] = ()
    response_bytes_max: int = 1024 * 1024
    breaker: BreakerPolicy = BreakerPolicy()


class Http:
    """The capability under one policy. It belongs to one event loop; `close` lets go of its connections.

    Failures are coded `http_<status>`, `http_refused` (policy), `http_unreachable`, `http_timeout`, `http_too_large`,
    `http_invalid`, `circuit_open`. Retryable are the statuses in RETRYABLE, `http_unreachable`, `http_timeout` and
    `circuit_open`; the others are terminal.
    """

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._client: httpx.AsyncClient | None = None
        self._circuits = Circuits(policy.breaker, lambda error: error.code not in SPARED)

    def capabilities(self) -> dict[str, Callable[..., Any]]:
        """By name, as an agent offers them."""
        return dict.fromkeys(("http", "api_call", "http.request"), self.request)

    async def close(self) -> None:
        """Close the connections. Another request opens them again."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def request(
        self,
        task: TaskContext,
        url: str,
        method: Method = "GET",
        headers: dict[str, str] | None = None,
        query: dict[str, str | int | float | bool | list[str]] | None = None,
        json: Any = None,
        body: str | None = None,
        timeout_s: Timeout = 30.0,
        connect_timeout_s: Timeout = 10.0,
        accept_statuses: list[int] | None = None,
        expected_status: int | list[int] | None = None,
        idempotency_header: str = "Idempotency-Key",
        response: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """{status, headers, bytes, json | text | base64}: the answer, if its status is 2xx or in `accept_statuses`, or is
        what `expected_status` says and nothing else. With `response`, {name: JSON Pointer}, what the pointers find in it.

        A call that changes something carries the task's key in the header `idempotency_header`, unless one is given.
        `timeout_s` bounds the whole call. An endpoint that keeps failing is not called for a while.
        """
        request = self._build(task, url, method, headers, query, json, body, idempotency_header)
        request.extensions["timeout"] = httpx.Timeout(None, connect=min(connect_timeout_s, timeout_s)).as_dict()
        with self._circuits.through(_endpoint(request.url)):
            answer, data = await self._answer(request, timeout_s)
            _check_status(request, answer, data, accept_statuses, expected_status)
        told = {
            "status": answer.status_code,
            "headers": dict(answer.headers),
            "bytes": len(data),
            **_content(answer, data),
        }
        return told if response is None else json_select(told, response)

    async def _answer(self, request: httpx.Request, timeout_s: float) -> tuple[httpx.Response, bytes]:
        what = f"{request.method} {request.url}"
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise RetryableError(f"{what}: no whole answer in {timeout_s:g} s", code="http_timeout") from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise RetryableError(f"{what}: {reason}", code="http_unreachable") from error

    def _build(
        self,
        task: TaskContext,
        url: str,
        method: str,
        headers: dict[str, str] | None,
        query: dict[str, Any] | None,
        json: Any,
        body: str | None,
        idempotency_header: str,
    ) -> httpx.Request:
        if json is not None and body is not None:
            raise TerminalError("give json or body, not both", code="validation")
        if self._client is None:
            # One for all calls: making one costs 10 ms and more, for its TLS settings. It keeps no cookies, or one run
            # would speak with the session of another.
            no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
            self._client = httpx.AsyncClient(timeout=None, follow_redirects=False, cookies=no_cookies)  # noqa: S113 - `request` bounds each call.
        try:
            address = httpx.URL(url) if query is None else httpx.URL(url).copy_merge_params(query)
            request = self._client.build_request(method, address, headers=headers, json=json, content=body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, TypeError, ValueError) as error:
            raise TerminalError(f"{url!r} cannot be called: {error}", code="http_invalid") from error
        self._check(request.url)
        if method not in ("GET", "HEAD"):
            request.headers.setdefault(idempotency_header, task.idempotency_key)
        return request

    def _check(self, url: httpx.URL) -> None:
        if url.scheme not in ("http", "https") or not url.host:
            raise TerminalError(f"{url} cannot be called: it must be http or https, with a host", code="http_invalid")
        names = [url.host] if url.port is None else [f"{url.host}:{url.port}"]
        for allowed in self._policy.allowed_hosts:
            suffix = allowed[1:].lower() if allowed.startswith("*.") else None
            if any(name.endswith(suffix) if suffix else name == allowed.lower() for name in names):
                return
        raise TerminalError(
            f"{names[0]} may not be called from here: the configuration of the agent host allows"
            f" {', '.join(self._policy.allowed_hosts) or 'no host'}",
            code="http_refused",
            recoverable=True,
        )

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        assert self._client is not None
        limit = self._policy.response_bytes_max
        response = await self._client.send(request, stream=True)
        try:
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > limit:
                    raise TerminalError(f"{request.url} answered more than {limit} bytes", code="http_too_large")
        except httpx.DecodingError as error:
            raise TerminalError(f"{request.url}: the answer cannot be decoded: {error}", code="http_invalid") from error
        finally:
            await response.aclose()
        return response, bytes(data)


def _endpoint(url: httpx.URL) -> str:
    """Who is called: scheme, host and port."""
    return f"{url.scheme}://{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _check_status(
    request: httpx.Request, response: httpx.Response, data: bytes, accepted: list[int] | None, expected: int | list[int] | None
) -> None:
    """Raises unless the answer is what the workflow wants."""
    if expected is not None:
        wanted = [expected] if isinstance(expected, int) else expected
        if response.status_code not in wanted:
            raise _failure(request, response, data, f", expected {' or '.join(map(str, wanted))}")
    elif not response.is_success and response.status_code not in (accepted or []):
        raise _failure(request, response, data)


def _failure(request: httpx.Request, response: httpx.Response, data: bytes, note: str = "") -> Exception:
    status = response.status_code
    message = f"{request.method} {request.url}: {status} {response.reason_phrase}{note}"
    if response.has_redirect_location:
        message += f", redirected to {response.headers['location']}: redirects are not followed, name the final address"
    elif data:
        message += f": {data[:200].decode(errors='replace')}"
    code = f"http_{status}"
    if status in RETRYABLE:
        return RetryableError(message, code=code, retry_after_ms=_retry_after_ms(response.headers.get("retry-after", "")))
    return TerminalError(message, code=code, recoverable=status in (401, 403))


def _retry_after_ms(text: str) -> int:
    """What the header Retry-After asks for: seconds or a date (RFC 9110, 10.2.3); 0 if it says nothing of use."""
    if text.isascii() and text.isdecimal():
        return min(int(text), RETRY_AFTER_S_MAX) * 1_000
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0
    return int(max(0.0, min(wait_s, RETRY_AFTER_S_MAX)) * 1_000)


def _content(response: httpx.Response, data: bytes) -> dict[str, Any]:
    """The body in the most useful form that holds it."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if data and (kind == "application/json" or kind.endswith("+json")):
        try:
            return {"json": msgspec.json.decode(data)}
        except msgspec.DecodeError as error:
            message = f"{response.request.url} says {kind} and is not: {error}"
            raise TerminalError(message, code="http_invalid") from error
    try:
        return {"text": data.decode(response.charset_encoding or "utf-8")}
    except (UnicodeDecodeError, LookupError):
        return {"base64": base64.b64encode(data).decode()}

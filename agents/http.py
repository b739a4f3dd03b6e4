"""`http.request`: one call to a service that the host's configuration allows.

A workflow names the address, and workflows come from many people; so the hosts that may be called are listed in the
configuration of the agent host, redirects are not followed, and the answer is bounded.
"""

import asyncio
import base64
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Any, Literal

import httpx
import msgspec

from tiercel import TaskContext
from tiercel.errors import RetryableError, TerminalError

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed later (RFC 9110, RFC 8470, RFC 6585)."""


class HttpPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `http.request` may reach. An entry is `host`, `host:port` or `*.domain`; without a port the usual ones are
    meant."""

    allowed_hosts: tuple[str, ...] = ()
    response_bytes_max: int = 1024 * 1024


class Http:
    """The capability under one policy. It belongs to one event loop; `close` lets go of its connections.

    Failures are coded `http_<status>`, `http_refused` (policy), `http_unreachable`, `http_timeout`, `http_too_large`,
    `http_invalid`. Retryable are the statuses in RETRYABLE, `http_unreachable` and `http_timeout`; the others are
    terminal.
    """

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._client: httpx.AsyncClient | None = None

    def capabilities(self) -> dict[str, Callable[..., Any]]:
        """By name, as an agent offers them."""
        return {"http.request": self.request}

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
        json: Any = None,
        body: str | None = None,
        timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0,
        accept_statuses: list[int] | None = None,
    ) -> dict[str, Any]:
        """{status, headers, bytes, json | text | base64}: the answer, if its status is 2xx or in `accept_statuses`.

        A call that changes something carries the header `Idempotency-Key` with the task's key, unless one is given.
        `timeout_s` bounds the whole call.
        """
        request = self._build(task, url, method, headers, json, body)
        try:
            async with asyncio.timeout(timeout_s):
                response, data = await self._send(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise RetryableError(f"{method} {url}: no whole answer in {timeout_s:g} s", code="http_timeout") from error
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise RetryableError(f"{method} {url}: {reason}", code="http_unreachable") from error
        if not response.is_success and response.status_code not in (accept_statuses or []):
            raise _failure(request, response, data)
        return {
            "status": response.status_code,
            "headers": dict(response.headers),
            "bytes": len(data),
            **_content(response, data),
        }

    def _build(
        self, task: TaskContext, url: str, method: str, headers: dict[str, str] | None, json: Any, body: str | None
    ) -> httpx.Request:
        if json is not None and body is not None:
            raise TerminalError("give json or body, not both", code="validation")
        if self._client is None:
            # One for all calls: making one costs 10 ms and more, for its TLS settings. It keeps no cookies, or one run
            # would speak with the session of another.
            no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
            self._client = httpx.AsyncClient(timeout=None, follow_redirects=False, cookies=no_cookies)  # noqa: S113 - `request` bounds each call.
        try:
            request = self._client.build_request(method, url, headers=headers, json=json, content=body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, TypeError, ValueError) as error:
            raise TerminalError(f"{url!r} cannot be called: {error}", code="http_invalid") from error
        self._check(request.url)
        if method not in ("GET", "HEAD"):
            request.headers.setdefault("Idempotency-Key", task.idempotency_key)
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


def _failure(request: httpx.Request, response: httpx.Response, data: bytes) -> Exception:
    status = response.status_code
    message = f"{request.method} {request.url}: {status} {response.reason_phrase}"
    if response.has_redirect_location:
        message += f", redirected to {response.headers['location']}: redirects are not followed, name the final address"
    elif data:
        message += f": {data[:200].decode(errors='replace')}"
    code = f"http_{status}"
    return RetryableError(message, code=code) if status in RETRYABLE else TerminalError(message, code=code)


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

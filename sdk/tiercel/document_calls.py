"""What `tiercel.client.Client` does with documents."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, urlencode

from tiercel.answers import ApiError

MERGE_PATCH = "application/merge-patch+json"
OPERATIONS = "application/vnd.tiercel.operations+json"
Params = dict[str, str | float]


class DocumentCalls:
    """Documents by their ids. Numbers of seconds are as the API takes them: "2s", "500ms"."""

    def documents(self: Any, prefix: str = "") -> list[dict[str, Any]]:
        """The documents whose ids begin so, with their values; of runs only with the run's id (`run/RUN/`)."""
        if prefix.startswith("run/"):
            items = self._request("GET", f"/api/v1/documents/run/{quote(prefix.split('/')[1], safe='')}")["items"]
            return [each for each in items if each["id"].startswith(prefix)]
        return cast(list[dict[str, Any]], self._request("GET", "/api/v1/documents", {"prefix": prefix})["items"])

    def document(self: Any, document: str, **asked: str) -> dict[str, Any]:
        """One, inside what is asked for (`consistency`, `max_staleness`, `min_version`, `degrade`)."""
        return cast(dict[str, Any], self._request("GET", f"/api/v1/documents/{quote(document)}", dict(asked)))

    def document_history(self: Any, document: str) -> list[dict[str, Any]]:
        """The versions that are kept, oldest first."""
        return cast(list[dict[str, Any]], self._request("GET", f"/api/v1/document-history/{quote(document)}")["items"])

    async def watch_documents(
        self: Any, *documents: str, prefix: str | None = None, idle_s: float | None = None
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Changes as they come: of these documents (`ID`, or `ID@VERSION` for what is beyond), and of all whose ids begin with
        `prefix`. None whenever `idle_s` passed without one. Ends when the server ends it (connect again then)."""
        asked = [("id", document) for document in documents] + ([] if prefix is None else [("prefix", prefix)])
        async with aclosing(self._listen(f"/ws/documents?{urlencode(asked)}", idle_s)) as frames:
            async for frame in frames:
                yield frame

    def document_version(self: Any, document: str, version: int) -> dict[str, Any]:
        """A former version with its value, and the `latest`."""
        return cast(dict[str, Any], self._request("GET", f"/api/v1/documents/{quote(document)}", {"version": str(version)}))

    def document_versions(self: Any, document: str, *, limit: int = 20, cursor: str = "") -> dict[str, Any]:
        """Versions with their values, the newest first; `next` is the cursor that leads on, empty at the end."""
        asked: Params = {"values": "true", "limit": limit, "cursor": cursor}
        return cast(dict[str, Any], self._request("GET", f"/api/v1/document-history/{quote(document)}", asked))

    def restore_document(self: Any, document: str, version: int) -> dict[str, Any]:
        """Put the value of a former version again, over the latest and nothing that comes meanwhile."""
        former = self.document_version(document, version)
        if former["deleted"]:
            detail = f"version {version} of {document} has no value: it was deleted with it; give another version"
            raise ApiError(HTTPStatus.CONFLICT, "version_deleted", detail)
        return cast(dict[str, Any], self.put_document(document, json.dumps(former["value"]), self._present(document, former)))

    def _present(self: Any, document: str, former: dict[str, Any]) -> int:
        """The version to expect over: that of one which is deleted now does not exist."""
        latest = former if former["version"] == former["latest"] else self.document_version(document, former["latest"])
        return 0 if latest["deleted"] else int(former["latest"])

    def create_document(self: Any, document: str, text: str, **terms: str) -> dict[str, Any]:
        """Begin a document with a JSON value, on these terms (`level`, `sites`; `resolver` and `rules`, a JSON object of fields,
        of one that several nodes write to); refused if there is one."""
        at = f"/api/v1/documents/{quote(document)}"
        return cast(dict[str, Any], self._request("POST", at, dict(terms), content=text.encode()))

    def put_document(
        self: Any, document: str, text: str, expected: int | None = None, base: int | None = None, *, edit: str = ""
    ) -> dict[str, Any]:
        """Put a JSON value; if `expected` is given, only over that version (0: only if there is none). `base`: the version that
        you have seen; what came since and is overwritten is kept as a conflict. Asked again under the same `edit`, it is not done
        again, and has the answer that it had."""
        return cast(dict[str, Any], self._edit_document("PUT", document, text, expected, base, edit=edit))

    def patch_document(
        self: Any, document: str, text: str, expected: int | None = None, base: int | None = None, *, edit: str = ""
    ) -> dict[str, Any]:
        """Replace members by a JSON Merge Patch (RFC 7396)."""
        return cast(dict[str, Any], self._edit_document("PATCH", document, text, expected, base, edit=edit))

    def edit_document(
        self: Any, document: str, text: str, expected: int | None = None, base: int | None = None, *, edit: str = ""
    ) -> dict[str, Any]:
        """Do operations, a JSON list of them, to a document that began with resolver=ot; `base`: the version that they are made
        on top of (without it: the latest)."""
        return cast(dict[str, Any], self._edit_document("PATCH", document, text, expected, base, OPERATIONS, edit=edit))

    def delete_document(
        self: Any, document: str, expected: int | None = None, base: int | None = None, *, edit: str = ""
    ) -> dict[str, Any]:
        """Take it away. Empty once its home has done so; until then the document, with the edit in `pending`."""
        return cast(dict[str, Any], self._edit_document("DELETE", document, "", expected, base, edit=edit))

    def _edit_document(
        self: Any,
        method: str,
        document: str,
        text: str,
        expected: int | None,
        base: int | None,
        media: str = MERGE_PATCH,
        *,
        edit: str = "",
    ) -> dict[str, Any]:
        asked = {"expected_version": expected, "base": base, "edit": edit or None}
        params: Params = {name: str(said) for name, said in asked.items() if said is not None}
        content: dict[str, Any] = {"content": text.encode()} if text else {}
        if method == "PATCH":
            content["headers"] = {"content-type": media}
        return cast(dict[str, Any], self._request(method, f"/api/v1/documents/{quote(document)}", params, **content))

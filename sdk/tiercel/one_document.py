"""One document by its name: `context.documents.agent("state")` is the agent's own, `.run("notes")` the run's."""

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiercel.documents import BlockingDocuments, Document, Documents, Edited


class OneDocument:
    """What `Documents` does, with this one."""

    def __init__(self, documents: "Documents", id: str) -> None:
        self._documents, self.id = documents, id

    async def get(self, **asked: Any) -> "Document":
        """As `Documents.get`."""
        return await self._documents.get(self.id, **asked)

    async def put(self, value: Any, **how: Any) -> "Edited":
        """As `Documents.put`."""
        return await self._documents.put(self.id, value, **how)

    async def patch(self, changes: dict[str, Any], **how: Any) -> "Edited":
        """As `Documents.patch`."""
        return await self._documents.patch(self.id, changes, **how)

    async def delete(self, **how: Any) -> "Edited":
        """As `Documents.delete`."""
        return await self._documents.delete(self.id, **how)

    def watch(self, **how: Any) -> "AsyncGenerator[Document, None]":
        """As `Documents.watch`."""
        return self._documents.watch(self.id, **how)


class OneBlockingDocument:
    """The same for functions that run in a thread."""

    def __init__(self, documents: "BlockingDocuments", id: str) -> None:
        self._documents, self.id = documents, id

    def get(self, **asked: Any) -> "Document":
        """As `Documents.get`."""
        return self._documents.get(self.id, **asked)

    def put(self, value: Any, **how: Any) -> "Edited":
        """As `Documents.put`."""
        return self._documents.put(self.id, value, **how)

    def patch(self, changes: dict[str, Any], **how: Any) -> "Edited":
        """As `Documents.patch`."""
        return self._documents.patch(self.id, changes, **how)

    def delete(self, **how: Any) -> "Edited":
        """As `Documents.delete`."""
        return self._documents.delete(self.id, **how)

    def watch(self, **how: Any) -> "Iterator[Document]":
        """As `Documents.watch`."""
        return self._documents.watch(self.id, **how)

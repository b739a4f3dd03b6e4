"""Documents whose edits are transformed, in a seed's story: cloud and sites edit them at once while everything breaks.

Numbers grow, so every edit that anybody was told of must be in the sum in the end, once; and values are put into fields of which
each edit but the last is overwritten by one that knew of it, or on record.
"""

import json
from random import Random
from typing import Any

from cloud.port import Problem
from sync.documents.book import ANY_VERSION
from sync.documents.events import EditRefused
from sync.documents.ids import home_of
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from tests.sim.documents import NOBODY_KNOWS, WAIT_S, DocumentWorld, NotDone
from tests.sim.oracle import Broke
from tests.sim.plan import Plan
from tests.sim.process import Process

NAMES = ("shared/sum", "site/harbour/sum")
TERMS = Terms(resolver="ot")
TOGETHER = "edits made at once are all in it"


class TransformedWorld(DocumentWorld):
    """`sure` is what was told to be recorded of each document's sum, `perhaps` what nobody knows of."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.sure = dict.fromkeys(NAMES, 0)
        self.perhaps = dict.fromkeys(NAMES, 0)
        self.puts: dict[str, str] = {}

    async def _act(self, where: str, process: Process, chance: Random) -> None:
        document = chance.choice([name for name in NAMES if home_of(name) in ("cloud", where) or where == "cloud"])
        node: Any = process.node  # type: ignore[attr-defined]
        book = node.planner.documents.book if where == "cloud" else node.book
        if not book.get(document).value:
            if home_of(document) == where:
                await self._edit(where, process, document, "put", {"n": 0, "last": {}}, expected=0)
            return
        if chance.random() < 0.6:
            by = chance.randint(1, 9)
            told = await self._edit(where, process, document, "operations", [{"op": "inc", "node": "", "field": "n", "by": by}])
            if told is not None:
                (self.sure if told else self.perhaps)[document] += by
        else:
            await self._edit(where, process, document, "merge", {"last": {chance.choice("abc"): self.numbers}})

    async def _edit(
        self, where: str, process: Process, document: str, operation: str, value: object, expected: int = ANY_VERSION
    ) -> bool | None:
        """Is it recorded? None: it is not; False: nobody knows."""
        self.numbers += 1
        edit, node = f"t{self.numbers}", process.node  # type: ignore[attr-defined]
        said = (0, document, edit, operation, json.dumps(value).encode(), expected, where, TERMS if expected == 0 else None)
        edits = node.documents if where == "cloud" else node.reads
        try:
            answer = await self._ask(process, edits.edit(EditDocument(*said), WAIT_S))
        except (NotDone, Problem):
            return None
        except NOBODY_KNOWS:
            return False
        self.trace.note("document_transformed")
        return None if isinstance(answer, EditRefused) else True

    async def _check_documents(self) -> None:
        await super()._check_documents()
        cloud = self.cloud.node.planner
        for name in NAMES:
            value = cloud.documents.book.get(name).value
            total = json.loads(value)["n"] if value else 0
            if not self.sure[name] <= total <= self.sure[name] + self.perhaps[name]:
                told = f"{name} has {total}, and {self.sure[name]} was told, {self.perhaps[name]} perhaps"
                raise Broke(TOGETHER, told)
            refused = [each for each in cloud.documents.book.refused.values() if each.document == name and each.edit[0] == "t"]
            if refused and not {each.loses.ref for each in self._conflicts(name)} >= {each.edit for each in refused}:
                raise Broke("what is refused is on record", f"{refused}")
        self.trace.note("document_overtaken", sum(len(self._conflicts(name)) for name in NAMES))

    def _conflicts(self, document: str) -> list[Any]:
        known = self.cloud.node.planner.conflicts.known.values()
        return [each.conflict for each in known if each.conflict.subject == document]

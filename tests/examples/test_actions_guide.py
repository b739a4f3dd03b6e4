"""docs/actions.md: its workflows run, its configuration loads, its package works."""

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
import yaml

from agents.actions import function_of
from agents.config import DatabaseSource, HostConfig, load_reach
from agents.http import HttpPolicy
from agents.registry import Registry
from tests.whole import Whole, whole
from tiercel import TerminalError
from tiercel.action import Action

pytestmark = pytest.mark.asyncio(loop_scope="module")
GUIDE = (Path(__file__).resolve().parents[2] / "docs/actions.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


WORKFLOWS = {document["name"]: document for text in blocks("yaml") if "tasks" in (document := yaml.safe_load(text))}
OUTPUTS: dict[str, tuple[str, Any]] = {
    "shelve": ("look", [("order.txt", 8)]),
    "ask-erp": ("confirm", {"state": "booked"}),
    "take-stock": ("count", [{"n": 7}]),
    "read-table": ("first", {"n": 3}),
}


class Erp(BaseHTTPRequestHandler):
    """Books an order once for each key."""

    orders: ClassVar[dict[str, int]] = {}

    def do_POST(self) -> None:
        assert json.loads(self.rfile.read(int(self.headers["Content-Length"]))) == {"sku": "A-1", "quantity": 3}
        order = self.orders.setdefault(self.headers["Idempotency-Key"], len(self.orders) + 1)
        self.answer(201, {"id": f"O-{order}"})

    def do_GET(self) -> None:
        self.answer(200, {"state": "booked" if self.path == "/orders/O-1" else "unknown"})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def erp() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Erp)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory, erp: str) -> AsyncIterator[Whole]:
    """A cloud and a site with an agent that offers everything."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "files").mkdir()
    config = HostConfig(
        gateway="unix:/x",
        data_dir=folder,
        agents=(),
        root=folder / "files",
        http=HttpPolicy(allowed_hosts=(erp.removeprefix("http://"),)),
        databases={"stock": DatabaseSource(url=f"sqlite:///{folder}/stock.db")},
    )
    registry = Registry(config)
    async with whole(folder, "harbour") as running:
        clerk = running.agent("clerk")
        for name, function in registry.choose("clerk", registry.names).items():
            clerk.capability(name)(function)
        await running.join("harbour", clerk)
        yield running
        await registry.close()


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
async def test_a_workflow_of_the_guide_runs(system: Whole, erp: str, name: str) -> None:
    """It is accepted as it stands, completes, and its last task gives what the reader expects."""
    inputs = dict.fromkeys(WORKFLOWS[name].get("inputs", {}), erp)
    answer = await system.client.post("/api/v1/workflows", json={"definition": WORKFLOWS[name], "inputs": inputs})
    assert answer.status_code == 201, answer.text
    picture = await system.ended(answer.json()["id"])
    assert picture["run"]["state"] == "completed", picture
    task, expected = OUTPUTS[name]
    output = next(each["output"] for each in picture["tasks"] if each["id"] == task)
    match name:
        case "shelve":
            assert [(entry["name"], entry["bytes"]) for entry in output["entries"]] == expected
        case "take-stock":
            assert output["rows"] == expected
        case _:
            assert output == expected


async def test_every_workflow_of_the_guide_is_expected() -> None:
    """A new example needs its outcome here."""
    assert WORKFLOWS.keys() == OUTPUTS.keys()


async def test_the_configuration_of_the_guide_loads(tmp_path: Path) -> None:
    """`actions.yaml` as it is shown is what the agents of a site read; without the file nothing is reached."""
    (text,) = (text for text in blocks("yaml") if "allowed_hosts" in text)
    (tmp_path / "actions.yaml").write_text(text)
    reach = load_reach(tmp_path / "actions.yaml")
    assert reach.databases["archive"].read_only
    assert "*.sensors.example.com" in reach.http.allowed_hosts
    assert load_reach(tmp_path / "none.yaml").databases == {}


async def test_the_package_of_the_guide_works() -> None:
    """The action does what it says, and its entry point names it."""
    source, _ = blocks("python")
    module: dict[str, Any] = {}
    exec(compile(source, "measuring.py", "exec"), module)
    action = module["measure_action"]
    assert isinstance(action, Action)
    assert function_of(action)(length_mm=1_500) == {"metres": 1.5}
    assert f'{action.name} = "measuring:measure_action"' in blocks("toml")[0]


async def test_the_file_of_capabilities_of_the_guide_works() -> None:
    """It gives functions by name, and refuses for good what cannot be done."""
    _, source = blocks("python")
    module: dict[str, Any] = {}
    exec(compile(source, "greeting.py", "exec"), module)
    greet = module["capabilities"]({"site": "harbour"})["greet"]
    assert greet("ann") == {"text": "Hello, ann, at harbour"}
    with pytest.raises(TerminalError, match="nobody to greet"):
        greet("")

"""The generated stubs: in step with protos/, and with the versions that the SDK asks for."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "sdk/tiercel/v1"


def test_stubs_are_what_the_protos_give(tmp_path: Path) -> None:
    """Generating again gives every committed stub byte for byte, and no other: `make protos` mends a difference."""
    protos = sorted((ROOT / "protos/tiercel/v1").glob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *outputs, *map(str, protos)]
    subprocess.run(command, check=True, env=plugins, timeout=60)

    assert contents(STUBS) == contents(tmp_path / "tiercel/v1")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.glob("*_pb2*")}


def test_floors_suit_the_stubs() -> None:
    """The oldest protobuf and grpcio that we allow are those that the stubs ask for when they are imported."""
    protobuf = re.search(r"Protobuf Python Version: (\S+)", (STUBS / "sync_pb2.py").read_text("utf-8"))
    grpcio = re.search(r"GRPC_GENERATED_VERSION = '(\S+)'", (STUBS / "sync_pb2_grpc.py").read_text("utf-8"))
    assert protobuf
    assert grpcio
    for project in ("pyproject.toml", "sdk/pyproject.toml"):
        dependencies = tomllib.loads((ROOT / project).read_text("utf-8"))["project"]["dependencies"]
        floors = dict(re.split(">=|,", text)[:2] for text in dependencies if ">=" in text)
        assert (floors["protobuf"], floors["grpcio"]) == (protobuf[1], grpcio[1])

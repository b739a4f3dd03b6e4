"""deploy/setup.sh: it finds a Python that works, or says what is missing."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/setup.sh"
TOOLS = "/usr/bin:/bin"


def find(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), "find"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_shim_that_fails_is_passed_over(tmp_path: Path) -> None:
    """A python3 that exists but does not run is skipped in favour of one further down the PATH."""
    for folder in ("shims", "real"):
        (tmp_path / folder).mkdir()
    program(tmp_path / "shims/python3", 'echo "pyenv: python3: command not found" >&2; exit 127')
    working = program(tmp_path / "real/python3", f'exec "{sys.executable}" "$@"')

    found = find({"PATH": f"{tmp_path}/shims:{tmp_path}/real:{TOOLS}"})

    assert (found.returncode, found.stdout.strip()) == (0, str(working))


def test_an_unsuitable_choice_is_refused(tmp_path: Path) -> None:
    """PYTHON that names no working Python 3.11 to 3.13 is refused by name, and nothing else is taken instead."""
    broken = program(tmp_path / "python3", "exit 1")

    found = find({"PATH": TOOLS, "PYTHON": str(broken)})

    assert (found.returncode, found.stdout) == (3, "")
    assert f"PYTHON={broken} is not a working Python 3.11, 3.12 or 3.13" in found.stderr


def test_a_missing_venv_module_is_named(tmp_path: Path) -> None:
    """A Python of the right version without venv, as Debian ships it, is told apart, with what to install."""
    bare = program(tmp_path / "python3", f'case "$2" in *ensurepip*) exit 1 ;; esac; exec "{sys.executable}" "$@"')

    found = find({"PATH": TOOLS, "PYTHON": str(bare)})

    assert found.returncode == 3
    assert "apt-get install python3-venv" in found.stderr


def test_a_linked_environment_is_left_alone(tmp_path: Path) -> None:
    """A .venv that is a link belongs to another checkout: what is in it stays, whether it works from here or not."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/setup.sh").write_text(SCRIPT.read_text())
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / ".home").write_text("/another/checkout")
    (tmp_path / ".venv").symlink_to(elsewhere)
    script, environment = [str(tmp_path / "deploy/setup.sh"), "dev"], {"PATH": TOOLS, "PYTHON": sys.executable}

    without_python = subprocess.run(["/bin/sh", *script], env=environment, capture_output=True, check=False, timeout=60)
    program(elsewhere / "bin/python", f'exec "{sys.executable}" "$@"')
    working = subprocess.run(["/bin/sh", *script], env=environment, capture_output=True, check=False, timeout=60)

    assert (without_python.returncode, working.returncode) == (3, 0)
    assert sorted(path.name for path in elsewhere.iterdir()) == [".home", "bin"]

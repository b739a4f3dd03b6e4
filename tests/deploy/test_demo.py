"""`tiercel demo`, as a person runs it, with fewer orders."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.up import EXAMPLES

TIERCEL = [sys.executable, "-c", "from tiercel.cli.main import main; main()"]


@pytest.mark.timeout(300)
def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    """Orders in, a link cut halfway, a site that goes on alone, both sides equal, a report of each order, nothing left."""
    lines = (EXAMPLES / "orders.csv").read_text(encoding="utf-8").splitlines()[:61]
    refused = "QQ-1,Nobody,harbour,harbour,TC-1052,Fender,1,42.50,1.9,standard,Oslo"
    (tmp_path / "orders.csv").write_text("\n".join([*lines, refused, ""]), encoding="utf-8")
    before = set(psutil.Process().children(recursive=True))

    ran = subprocess.run(
        [*TIERCEL, "demo", "--orders", str(tmp_path / "orders.csv"), "--report", str(tmp_path / "report.csv")],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    grown = [int(count) for count in re.findall(r"harbour's own disk has grown by (\d+) effects", ran.stdout)]
    known = set(re.findall(r"the cloud knows (\d+) of its tasks", ran.stdout))
    assert grown[-1] > 0
    assert len(known) == 1
    assert re.search(r"the cloud has learned of [1-9]\d* more tasks that harbour has done", ran.stdout)
    assert re.search(r"cloud and airport compared the states of [1-9]\d* runs .*: \d+ equal, 0 different\n", ran.stdout)
    with (tmp_path / "report.csv").open(newline="") as file:
        outcomes = {row["order"]: row for row in csv.DictReader(file)}
    assert list(outcomes) == [line.partition(",")[0] for line in [*lines[1:], refused]]
    assert outcomes["HB-41007"]["outcome"] == "completed"
    assert outcomes["HB-41007"]["tracking"].startswith("TR-")
    assert "out_of_stock" in outcomes["HB-41019"]["reason"]
    assert outcomes["QQ-1"]["outcome"] == "refused"
    assert set(psutil.Process().children(recursive=True)) == before

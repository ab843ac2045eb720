"""A run on Ray, on this machine: what it writes is what one machine writes. It takes seconds, and runs in CI."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Machine, outputs
from tests.support.shards import jpeg, tar_of

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="ray[data] is not installed")

FAST = ("--size", "32", "--heads", "agree", "--refine", "none", "-q")


def test_a_run_on_ray_is_a_run(machine: Machine) -> None:
    machine.environment.pop("PYTHONWARNINGS")
    machine.environment["RAY_ADDRESS"] = "local"  # whatever runs on this machine
    for shard in range(2):
        members = {f"{number}.jpg": jpeg(20 * shard + number) for number in range(20)}
        (machine.desk / f"s-{shard}.tar").write_bytes(tar_of(members | {"7.jpg": b"no photo"}))
    machine.photo("photos/a.png")
    asked = ("segment", "s-{0..1}.tar", "photos", "-o", "out", "--jsonl", *FAST)
    alone = machine.crate(*asked, installed=True)
    kept = files(machine.desk / "out")
    (machine.desk / "out").rename(machine.desk / "alone")
    spread = machine.crate(*asked, "--on", "ray", installed=True)
    assert (spread.code, spread.err) == (1, alone.err)
    assert files(machine.desk / "out") == kept
    assert len(outputs(machine.desk / "out")) == 39
    assert sorted(spread.lines) == sorted(alone.lines)
    assert len({json.loads(line)["input"] for line in spread.lines}) == 41


def files(folder: Path) -> dict[str, bytes]:
    pictures = (path for path in folder.rglob("*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in pictures}

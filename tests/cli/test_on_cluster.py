"""A cluster of two nodes on this machine: what it loses is made again, and every photo is recorded once."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratecli.runs.manifest import read_manifest
from tests.cli.conftest import Machine
from tests.support.clusters import TwoNodes, two_nodes
from tests.support.environment import environment
from tests.support.shards import jpeg, tar_of, write_parquet
from tests.support.waiting import until

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="ray[data] is not installed")

FAST = ("--size", "32", "--heads", "agree", "--refine", "none")
SHARDS, PHOTOS = 8, 250
EARLY = 100  # rows after which something dies


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    """Run the cluster, for all tests."""
    with two_nodes(environment(tmp_path_factory.mktemp("cluster"))) as nodes:
        yield nodes


@pytest.fixture
def joined(machine: Machine, cluster: TwoNodes) -> Machine:
    """Give a machine that is a node of the cluster."""
    machine.environment.pop("PYTHONWARNINGS")
    machine.environment.update(cluster.environment)
    return machine


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write shards of tiny photos; 1 in 50 is bad."""
    folder = tmp_path_factory.mktemp("lake")
    for shard in range(SHARDS):
        photos = {
            f"{number:03}.jpg": jpeg(shard * PHOTOS + number) if number % 50 else b"no photo"
            for number in range(PHOTOS)
        }
        (folder / f"{shard}.tar").write_bytes(tar_of(photos))
    return folder


KEYS = sorted(
    f"{shard}/{number:03}.png" for shard in range(SHARDS) for number in range(PHOTOS) if number % 50
)


def rows(machine: Machine) -> list[str]:
    """List the outputs that the manifest has."""
    path = machine.desk / "out/manifest.jsonl"
    return [str(line.row.output) for line in read_manifest(path)] if path.exists() else []


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_files_are_those_of_one_machine(joined: Machine, cluster: TwoNodes) -> None:
    for number in range(20):
        joined.photo(f"photos/{number}.jpg", (40 + 8 * (number % 3), 32), number)
        (joined.desk / "s.tar").write_bytes(tar_of({f"{each}.jpg": jpeg(each) for each in range(30)}))
    write_parquet(joined.desk / "t.parquet", [jpeg(50 + number) for number in range(30)])
    asked = ("segment", "photos", "s.tar", "t.parquet", "-o", "out/", "-q", *FAST)
    assert joined.crate(*asked, installed=True).code == 0
    alone = pictures(joined.desk / "out")
    assert len(alone) == 80
    for on in filter(None, ("ray", cluster.client)):
        (joined.desk / "out").rename(joined.desk / f"before-{on[:4]}-{len(on)}")
        done = joined.crate(*asked, "--on", on, installed=True)
        assert (done.code, done.err) == (0, "")
        assert pictures(joined.desk / "out") == alone


@pytest.mark.parametrize("victim", ["FlatMap", "Look", "Map(finish)", "Conductor", "node"])
def test_whatever_dies_every_photo_is_recorded_once(
    joined: Machine, cluster: TwoNodes, lake: Path, victim: str
) -> None:
    asked = ("segment", f"{lake}/{{0..{SHARDS - 1}}}.tar", "-o", "out/", "--on", "ray", "--jsonl", *FAST)
    records, told = joined.desk / "records", joined.desk / "told"
    with records.open("wb") as out, told.open("wb") as err:
        process = joined.launch(*asked, stdout=out, stderr=err)
        with process:
            early = -1 if victim == "FlatMap" else EARLY  # what reads and decodes is soon done
            until(lambda: len(rows(joined)) > early or process.poll() is not None)
            if victim == "node":
                cluster.lose_node()
            else:
                until(lambda: cluster.kill(victim) or process.poll() is not None)
            assert process.poll() is None
            process.wait()
    assert process.returncode == 1, told.read_text()
    assert sorted(rows(joined)) == KEYS
    assert sorted(pictures(joined.desk / "out")) == KEYS
    said = Counter(json.loads(line)["input"] for line in records.read_text().splitlines())
    assert len(said) == SHARDS * PHOTOS
    assert set(said.values()) == {1}
    lines = told.read_text().splitlines()
    assert lines[-1] == f"crate: {SHARDS * PHOTOS // 50} of {SHARDS * PHOTOS} photos failed"
    assert len(lines) < 30


def test_a_killed_command_is_taken_up(joined: Machine, lake: Path) -> None:
    asked = ("segment", f"{lake}/{{0..{SHARDS - 1}}}.tar", "-o", "out/", "--on", "ray", "-q", *FAST)
    with joined.start(*asked) as process:
        until(lambda: len(rows(joined)) > EARLY or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = len(rows(joined))
    assert EARLY < before < len(KEYS)
    done = joined.crate(*asked, "--resume", installed=True)
    assert done.code == 1, done.err
    assert sorted(rows(joined)) == KEYS
    assert len(done.lines) == len(KEYS) - before


def test_a_command_that_is_asked_to_end_leaves_a_run_to_take_up(joined: Machine, lake: Path) -> None:
    asked = ("segment", f"{lake}/{{0..1}}.tar", "-o", "out/", "--on", "ray", "--batch-size", "2", *FAST)
    with joined.start(*asked) as process:
        until(lambda: len(rows(joined)) > 10 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert "; --resume goes on from here\n" in told
    assert joined.crate(*asked, "--resume", installed=True).code == 1
    assert sorted(rows(joined)) == [key for key in KEYS if key[0] in "01"]

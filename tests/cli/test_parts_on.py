"""`crate parts --on ray` without Ray: vocabulary and files are those of one machine, whatever a cluster loses."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cratecli.ray.parcels import Carried, Item
from cratecli.tasks import parts_run
from tests.cli.conftest import Here, Machine, failed
from tests.support.no_ray import EndedError, NoCluster, no_cluster
from tests.support.shards import jpeg, tar_of

FAST = ("--size", "32", "-k", "3", "-q")
ALL = ("photos", "s-0.tar", "s-1.tar")
__all__ = ["no_cluster"]


@pytest.fixture
def lake(machine: Machine) -> Path:
    """Put photos on the desk, loose ones and shards; of each kind one is bad, and one comes twice."""
    for number in range(4):
        machine.photo(f"photos/{number}.png", (32 + 8 * (number % 2), 24), number)
    (machine.desk / "photos/5.png").write_bytes(b"no photo")
    for shard in range(2):
        members = {f"{number}.jpg": jpeg(3 * shard + number) for number in range(4)}
        (machine.desk / f"s-{shard}.tar").write_bytes(tar_of(members | {"7.jpg": b"no photo"}))
    return machine.desk


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "manifest" not in path.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def twice_or_lost(round_: int, items: list[Item]) -> Sequence[list[Item]]:
    """Lose every third photo in the first round, and bring the others twice."""
    kept = [
        each
        for each in items
        if round_ > 1 or not isinstance(each, Carried) or not each.job.name.endswith(("1.png", "2.jpg"))
    ]
    return [kept, kept]


@pytest.mark.parametrize(
    ("rule", "most", "passes"), [("attention", 10**9, 2), ("pca", 10**9, 2), ("pca", 0, 3)]
)
def test_files_are_those_of_one_machine(
    here: Here,
    lake: Path,
    no_cluster: NoCluster,
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    most: int,
    passes: int,
) -> None:
    monkeypatch.setattr(parts_run, "KEPT", most)
    asked = ("parts", *ALL, "-o", "out", "--foreground", rule, "--jsonl", *FAST)
    alone = here(*asked, "--save-parts", "v")
    kept = tree(lake / "out")
    assert len(kept) == 2 * 12 + 2
    (lake / "out").rename(lake / "alone")
    spread = here(*asked, "--save-parts", "w", "--on", "ray")
    assert (spread.code, alone.code) == (1, 1)
    assert sorted(spread.err.splitlines()) == sorted(alone.err.splitlines())
    assert sorted(spread.lines) == sorted(alone.lines)
    assert (lake / "w").read_bytes() == (lake / "v").read_bytes()
    assert tree(lake / "out") == kept
    assert no_cluster.rounds == passes


@pytest.mark.parametrize("rule", ["attention", "pca"])
def test_every_photo_counts_once_whatever_is_lost_or_comes_twice(
    here: Here, lake: Path, no_cluster: NoCluster, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr(parts_run, "KEPT", 0)
    learn = ("parts", *ALL, "--as", "none", "--foreground", rule, *FAST)
    assert here(*learn, "--save-parts", "v").code == 1
    no_cluster.fate = twice_or_lost
    assert here(*learn, "--save-parts", "w", "--on", "ray").code == 1
    assert no_cluster.rounds > 1
    assert (lake / "w").read_bytes() == (lake / "v").read_bytes()
    no_cluster.fate, no_cluster.rounds = twice_or_lost, 0
    done = here("parts", *ALL, "--parts", "v", "-o", "out", "--on", "ray", "-q", "--as", "npz")
    assert done.code == 1
    assert len(json.loads((lake / "out/parts.json").read_bytes())["images"]) == 12
    assert len(tree(lake / "out/npz")) == 12


def test_a_cluster_that_is_lost_leaves_no_vocabulary(here: Here, lake: Path, no_cluster: NoCluster) -> None:
    def gone(_round: int, _items: list[Item]) -> Sequence[list[Item]]:
        raise EndedError("no more")

    no_cluster.fate = gone
    done = here("parts", *ALL, "--as", "none", "--save-parts", "v", "--on", "ray", *FAST)
    assert done.code != 0
    assert "crate: ray: no more" in done.err
    assert not (lake / "v").exists()


def test_what_is_not_for_a_cluster(here: Here, lake: Path, no_cluster: NoCluster) -> None:
    failed(
        here("parts", "photos", "-o", "x", "--workers", "2", "-q"),
        2,
        "--workers is of a cluster: give --on ray",
    )
    failed(here("parts", "-", "-o", "x", "--on", "ray", "-q"), 2, "--on takes no photos from standard input")
    assert no_cluster.rounds == 0


@pytest.mark.slow
def test_a_vocabulary_by_ray_itself(machine: Machine, lake: Path) -> None:
    pytest.importorskip("ray", reason="ray[data] is not installed")
    machine.environment.pop("PYTHONWARNINGS")
    machine.environment["RAY_ADDRESS"] = "local"  # whatever runs on this machine
    learn = ("parts", *ALL, "--as", "none", *FAST)
    alone = machine.crate(*learn, "--save-parts", "v", installed=True)
    spread = machine.crate(*learn, "--save-parts", "w", "--on", "ray", installed=True)
    assert (alone.code, spread.code) == (1, 1)
    assert sorted(spread.err.splitlines()) == sorted(alone.err.splitlines())
    assert (lake / "w").read_bytes() == (lake / "v").read_bytes()

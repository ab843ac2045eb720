"""`--on ray` without Ray: the plan, the books and the files are those of one machine, whatever a cluster loses."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from cratecli.ray.parcels import Carried, Ended, Item
from tests.cli.conftest import Here, Machine, inputs, never, outputs
from tests.support.ledgers import PREAMBLE
from tests.support.no_ray import EndedError, NoCluster, no_cluster
from tests.support.processes import another
from tests.support.shards import jpeg, tar_of, write_parquet

FAST = ("--size", "32", "--heads", "agree", "--refine", "none", "-q")
__all__ = ["no_cluster"]


@pytest.fixture
def lake(machine: Machine) -> Path:
    """Put photos of all kinds on the desk: loose ones, shards, a table; of each kind one is bad."""
    desk = machine.desk
    for number in range(5):
        machine.photo(f"photos/{number}.png", (32 + 8 * (number % 2), 24), number)
    (desk / "photos/5.png").write_bytes(b"no photo")
    for shard in range(2):
        members = {f"{number}.jpg": jpeg(10 * shard + number) for number in range(5)}
        (desk / f"s-{shard}.tar").write_bytes(tar_of(members | {"7.jpg": b"no photo"}))
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    write_parquet(desk / "t.parquet", [jpeg(30 + number) for number in range(3)] + [None])
    return desk


ALL = ("photos", "s-0.tar", "s-1.tar", "t.parquet")


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "manifest" not in path.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_files_are_those_of_one_machine(
    machine: Machine, here: Here, lake: Path, no_cluster: NoCluster
) -> None:
    alone = here("segment", *ALL, "-o", "out", "--jsonl", *FAST)
    kept = tree(lake / "out")
    assert len(kept) == 18
    (lake / "out").rename(lake / "alone")
    spread = here("segment", *ALL, "-o", "out", "--jsonl", "--on", "ray", *FAST)
    assert (spread.code, alone.code) == (1, 1)
    assert sorted(spread.lines) == sorted(alone.lines)
    assert tree(lake / "out") == kept
    found = outputs(lake / "out")
    assert len(found) == 18
    assert no_cluster.rounds == 1


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_a_file_for_each_shard(
    machine: Machine, here: Here, lake: Path, no_cluster: NoCluster, kind: str
) -> None:
    first = here("segment", *ALL, "-o", "rows/", "--as", kind, "--on", "ray", *FAST)
    kept = tree(lake / "rows")
    (lake / "rows").rename(lake / "spread")
    alone = here("segment", *ALL, "-o", "rows/", "--as", kind, *FAST)
    assert tree(lake / "rows") == kept
    assert sorted(first.lines) == sorted(alone.lines)
    assert len(kept) == 4
    assert no_cluster.rounds == 1


def test_objects_and_coco(here: Here, lake: Path, no_cluster: NoCluster) -> None:
    asked = ("objects", "photos", "s-0.tar", "-o", "run.json", "--size", "32", "-q")
    assert here(*asked, "--on", "ray").code == 1
    spread = json.loads((lake / "run.json").read_bytes())
    for path in lake.glob("run*"):
        path.unlink()
    assert here(*asked).code == 1
    assert json.loads((lake / "run.json").read_bytes()) == spread
    assert len(spread["images"]) == 10


def test_what_is_lost_is_dealt_out_again_and_what_comes_twice_is_taken_once(
    machine: Machine, here: Here, lake: Path, no_cluster: NoCluster
) -> None:
    came = Counter[int]()

    def fate(round_: int, items: list[Item]) -> Sequence[list[Item]]:
        came[round_] += 1
        if round_ == 1 and came[1] % 2:
            return []
        if round_ == 2 and came[2] == 3:
            raise EndedError("a node died")
        return [items, items]

    no_cluster.fate = fate
    done = here("segment", *ALL, "-o", "out", "--jsonl", "--on", "ray", *FAST)
    assert done.code == 1
    assert len(outputs(lake / "out")) == 18
    records = Counter(inputs(done))
    assert len(records) == 22
    assert set(records.values()) == {1}
    assert no_cluster.rounds > 2


def test_a_photo_that_no_worker_survives_fails_alone(here: Here, lake: Path, no_cluster: NoCluster) -> None:
    def fate(_round: int, items: list[Item]) -> Sequence[list[Item]]:
        fatal = any(
            isinstance(each, Carried) and each.job.name.endswith(("2.png", "::3.jpg")) for each in items
        )
        return [] if fatal else [items]

    no_cluster.fate = fate
    done = here("segment", *ALL[:2], "-o", "out", "--on", "ray", *FAST)
    assert done.code == 1
    assert outputs(lake / "out") == [f"photos/{n}.png" for n in (0, 1, 3, 4)] + [
        f"s-0/{n}.png" for n in (0, 1, 2, 4)
    ]
    why = "the workers that had it in hand ended each time: they were killed, or out of memory"
    assert f"crate: photos/2.png: {why}\n" in done.err
    assert f"crate: s-0.tar: photo 4: {why}\n" in done.err
    assert done.err.endswith("crate: 4 of 12 photos failed\n")


def test_of_many_failures_the_first_are_told(here: Here, machine: Machine, no_cluster: NoCluster) -> None:
    (machine.desk / "s.tar").write_bytes(tar_of({f"{number}.jpg": b"no photo" for number in range(50)}))
    done = here("segment", "s.tar", "-o", "out", "--jsonl", "--on", "ray", *FAST)
    told = done.err.splitlines()
    assert len(told) == 22
    assert told[-2:] == [
        "crate: more failures are not printed one by one: --jsonl has a record for each photo",
        "crate: 50 of 50 photos failed",
    ]
    assert len(done.lines) == 50


def test_a_source_that_no_worker_survives_fails_alone(here: Here, lake: Path, no_cluster: NoCluster) -> None:
    def fate(_round: int, items: list[Item]) -> Sequence[list[Item]]:
        return (
            [] if any(isinstance(each, Carried | Ended) and each.source == 0 for each in items) else [items]
        )

    no_cluster.fate = fate
    done = here("segment", "s-0.tar", "s-1.tar", "-o", "rows/", "--as", "parquet", "--on", "ray", *FAST)
    assert (done.code, done.lines) == (1, ["rows/s-1.parquet"])
    assert "crate: s-0.tar: the workers that had it in hand ended each time" in done.err


def test_a_cluster_that_is_lost_is_one_line_and_the_run_is_taken_up(
    here: Here, lake: Path, no_cluster: NoCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fate(round_: int, items: list[Item]) -> Sequence[list[Item]]:
        if round_ > 1 or any(isinstance(each, Carried) and each.source == 1 for each in items):
            raise EndedError("a trace\n\nRayError: the head is gone")
        return [items]

    no_cluster.fate = fate
    asked = ("segment", "s-0.tar", "s-1.tar", "-o", "out", "--on", "ray", *FAST)
    lost = here(*asked)
    assert (lost.code, lost.err.splitlines()[1:]) == (
        5,
        ["crate: 1 of 6 photos failed", LOST],
    )
    no_cluster.fate = lambda _round, items: [items]
    again = here(*asked, "--resume", "--jsonl")
    assert Counter(inputs(again)) == Counter(
        ["s-0.tar::7.jpg", "s-1.tar::7.jpg", *(f"s-1.tar::{n}.jpg" for n in range(5))]
    )
    assert len(outputs(lake / "out")) == 10


LOST = "crate: ray: RayError: the head is gone; 5 photos done, 1 failed; --resume goes on from here"


def test_what_is_done_is_read_and_no_more_unless_its_output_is_gone(
    here: Here, lake: Path, no_cluster: NoCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("segment", "s-0.tar", "photos", "-o", "out", "--on", "ray", "--resume", *FAST)
    assert here(*asked).code == 1
    with monkeypatch.context() as patch:
        patch.setattr("cratecli.io.images.decode", never)
        again = here(*asked)
        assert again.err.count("looked at again") == 2  # the two that failed
        assert again.lines == []
    (lake / "out/s-0/1.png").unlink()
    (lake / "out/photos/2.png").unlink()
    assert sorted(here(*asked).lines) == ["out/photos/2.png", "out/s-0/1.png"]
    assert no_cluster.rounds == 4
    assert len(outputs(lake / "out")) == 10


def test_photos_named_inside_a_shard_and_what_is_nowhere(
    here: Here, lake: Path, no_cluster: NoCluster
) -> None:
    done = here("segment", "s-0.tar::1.jpg", "x::00000001", "gone.jpg", "-o", "out", "--on", "ray", *FAST)
    assert (done.code, done.lines) == (1, ["out/s-0/1.png"])
    assert "crate: x::00000001: no such file\n" in done.err
    assert "crate: gone.jpg: no such file\n" in done.err


def test_a_folder_that_another_crate_works_on_is_refused_and_who_joins_in_is_waited_for(
    here: Here, machine: Machine, no_cluster: NoCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.desk / "in").mkdir()
    for name in "ab":
        (machine.desk / f"in/{name}.jpg").write_bytes(jpeg())
    (machine.desk / "out").mkdir()
    asked = ("segment", "in", "-o", "out", "--on", "ray", *FAST)
    told = "another crate is at work on out/manifest.jsonl: wait for it, or give another folder"
    left = "0 of 2 photos done, 2 left; --resume goes on from here"
    with another(PREAMBLE) as other:
        other("ledger.open([], resume=False)")
        refused = here(*asked)
    assert (refused.code, refused.err) == (1, f"crate: {told}; {left}\n")
    waits: list[str] = []
    with another(PREAMBLE) as other:

        def fate(_round: int, items: list[Item]) -> Sequence[list[Item]]:
            assert other("(ledger.open([], resume=False), ledger.claim(job('a')))") == "(True, True)"
            return [items]

        monkeypatch.setattr(
            "cratecli.ray.carrier.time.sleep", lambda _: waits.append(other("ledger.close()"))
        )
        no_cluster.fate = fate
        done = here(*asked)
    assert (done.code, sorted(done.lines)) == (0, ["out/a.png", "out/b.png"])
    assert outputs(machine.desk / "out") == ["a.png", "b.png"]
    assert waits


def test_options_without_meaning(here: Here, machine: Machine, tmp_path: Path) -> None:
    machine.photo("a.png")
    for asked, told in {
        ("--workers", "2"): "--workers is of a cluster: give --on ray too",
        ("--gpus-per-worker", "0.5"): "--gpus-per-worker is of a cluster: give --on ray too",
        ("--on", "spark"): "--on spark: give ray, for this machine, or ray://HOST:PORT",
        ("--on", "ray://head"): "--on ray://head: give ray, for this machine, or ray://HOST:PORT",
        ("--on", "ray", "--features-cache", "c"): "--features-cache is a folder of this machine",
        ("--on", "ray", "--device", "cuda:1"): "--device cuda:1: with --on give cpu or cuda",
        (
            "--on",
            "ray://head:\u00b2",
        ): "--on ray://head:\u00b2: give ray, for this machine, or ray://HOST:PORT",
        ("--on", "ray://head:0"): "--on ray://head:0: give ray, for this machine, or ray://HOST:PORT",
        ("--on", "ray", "--gpus-per-worker", "inf"): "--gpus-per-worker inf: give a whole number, or a share",
        ("--on", "ray", "--gpus-per-worker", "1e-320"): "--gpus-per-worker 9.99989e-321: give a whole",
        ("--on", "ray", "--gpus-per-worker", "1.5"): "--gpus-per-worker 1.5: give a whole number, or a share",
        ("--on", "ray", "--device", "cpu", "--gpus-per-worker", "1"): "--gpus-per-worker is of GPUs",
    }.items():
        done = here("segment", "a.png", "-o", "out/", *asked)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert told in done.err
    piped = here("segment", "-", "-o", "out/", "--on", "ray", stdin=jpeg())
    assert (piped.code, piped.err) == (2, "crate: --on takes no photos from standard input: name them\n")
    assert not (machine.desk / "out").exists()


def test_a_click_is_not_sent(here: Here, machine: Machine, no_cluster: NoCluster) -> None:
    machine.photo("a.png")
    done = here("segment", "a.png", "-o", "m.png", "--at", "3,3", "--on", "ray")
    assert done.code == 2
    assert done.err.endswith(
        "crate: a click is on one photo, and --on is for many: ask about each by itself\n"
    )


def test_without_ray_one_line_says_what_to_install(
    here: Here, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.photo("a.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    done = here("segment", "a.png", "-o", "out/", "--on", "ray")
    assert (done.code, done.err) == (2, "crate: --on ray needs an extra; run: pip install 'cratecli[ray]'\n")


def test_a_plan_needs_no_cluster(here: Here, lake: Path) -> None:
    done = here("segment", "s-{0..1}.tar", "-o", "out", "--dry-run", "--on", "ray")
    assert done.lines == ["s-0.tar\tout/s-0/", "s-1.tar\tout/s-1/"]
    assert not (lake / "out").exists()

"""`crate self-train` as its user meets it: a dozen photos become a head, and the head draws masks."""

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from cratecli.tasks import self_train as task
from cratecli.weights.store import store_model
from tests.cli.conftest import Here, Machine, failed
from tests.support.mask_heads import disc_photos
from tests.support.models import CONFIG, small_crate
from tests.support.toy import metrics
from tests.support.warm import Forked

EASY = ("--set", "consensus=0.8", "--set", "kept=0.35", "--set", "batch_size=4", "--set", "width=32")
SHORT = ("--set", "epochs=2", "--set", "size=32", "--set", "composites=0.5", *EASY)


@pytest.fixture
def desk(machine: Machine) -> Machine:
    """Lay out photos, and a model of random weights."""
    disc_photos(machine.desk / "photos", 12)
    store_model(machine.desk / "model.safetensors", CONFIG, small_crate().state_dict())
    return machine


def test_photos_become_a_head_that_draws_masks(desk: Machine, here: Here) -> None:
    (desk.desk / "photos/bad.png").write_bytes(b"no photo")
    done = here("self-train", "photos", "-o", "run", "--json", *SHORT)
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)
    assert record["checkpoint"] == "run/head.safetensors" and record["done"]
    assert "photos/bad.png: not an image of a known format: passed over" in done.err
    assert "sure objects and" in done.err
    opening, *_, last = metrics(desk.desk / "run")
    assert opening["photos"] == 12 and last["sha256"] == record["sha256"]

    again = here("self-train", "photos", "-o", "run", "--resume", "--json")
    assert again.code == 0 and "was finished before" in again.err
    assert json.loads(again.out)[0]["sha256"] == record["sha256"]

    used = here("segment", "photos/00.png", "--head", "run/head.safetensors", "-o", "out/mask.png", "--json")
    assert used.code == 0, used.err
    (drawn,) = json.loads(used.out)
    assert (drawn["head"], drawn["head_sha256"]) == ("run/head.safetensors", record["sha256"])
    assert drawn["threshold"] == 0.5 and 32 in drawn["sizes"]
    assert not (desk.desk / "run/pool").exists()  # which is large, and has done its work

    explained = here("explain", "out/mask.png")
    assert "--head run/head.safetensors" in explained.lines[0] and not explained.err
    before = (desk.desk / "out/mask.png").read_bytes()
    (desk.desk / "out/mask.png").rename(desk.desk / "old.png")
    assert here(*explained.lines[0].split()[1:]).code == 0
    assert (desk.desk / "out/mask.png").read_bytes() == before

    request = json.dumps({"input": "photos/00.png", "head": "run/head.safetensors"}).encode()
    answer = json.loads(here("worker", stdin=request).lines[0])
    assert answer["head_sha256"] == record["sha256"] and answer["box"] == drawn["box"]

    (desk.desk / "run/head.safetensors").write_bytes(b"{}")
    assert "not the mask head it was made with" in here("explain", "out/mask.png").err
    failed(here("segment", "photos/00.png", "--head", "run/head.safetensors"), 4, "is no mask head")


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    desk: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = ("--set", "confidence=0.0", "--set", "consensus=0.0", "--set", "kept=0.0")
    monkeypatch.setattr(task, "gather", gathered)
    order = ("self-train", "photos", "-m", "model.safetensors", *sure, *EASY[4:], "--set", "epochs=3")
    assert here(*order, "-o", "whole").code == 0
    assert here(*order, "-o", "part", "--limit-minutes", "0").code == 0
    resumed = here("self-train", "photos", "-m", "model.safetensors", "-o", "part", "--resume")
    assert resumed.code == 0, resumed.err
    assert (desk.desk / "part/head.safetensors").read_bytes() == (
        desk.desk / "whole/head.safetensors"
    ).read_bytes()
    assert (desk.desk / "part/taught.jsonl").read_bytes() == (desk.desk / "whole/taught.jsonl").read_bytes()
    again = here("self-train", "photos", "-m", "model.safetensors", "-o", "part", "--resume", "--json")
    assert again.code == 0 and "the run was finished before" in again.err
    (record,) = json.loads(again.out)
    (desk.desk / "part/head.safetensors").write_bytes(b"another")
    failed(
        here("self-train", "photos", "-m", "model.safetensors", "-o", "part", "--resume"),
        1,
        "is not the head",
    )
    assert (
        record["done"]
        and record["sha256"]
        == hashlib.sha256((desk.desk / "whole/head.safetensors").read_bytes()).hexdigest()
    )


def gathered(*_arguments: object, **_named: object) -> object:
    """Stand in for what a model of random weights is never sure of."""
    from tests.support.mask_heads import painted_material

    return painted_material(8)


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_teaches_is_resumed(desk: Machine, here: Here) -> None:
    disc_photos(desk.desk / "many", 200, height=18, width=24)
    process = Forked(
        desk.desk,
        None,
        "self-train",
        "many",
        "-m",
        "model.safetensors",
        "-o",
        "run",
        variables=desk.environment,
    )
    rows = desk.desk / "run/taught.jsonl"
    process.wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 64)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = rows.read_bytes().splitlines()[:64]
    done = here("self-train", "many", "-m", "model.safetensors", "-o", "run", "--resume")
    assert done.code == 3 and "too few to learn from" in done.err.splitlines()[-1]
    assert len(rows.read_bytes().splitlines()) == 200 and rows.read_bytes().splitlines()[:64] == before


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("none", "-o", "run"), 1, "none: no such file"),
        (("photos", "-o", "run", "--resume"), 2, "holds no run to resume"),
        (("photos", "-o", "run", "--resume", "--set", "width=32"), 2, "no --set"),
        (("photos", "-o", "run", "--set", "width=31"), 2, "width is 31"),
        (("photos", "-o", "run", "--set", "colour=1"), 2, "unknown setting 'colour'"),
        (("photos", "-o", "run", "--teacher", "gone"), 4, "gone: no such file"),
        (("photos", "-o", "run", "--held-out", "none"), 1, "none: no such file"),
        (("-", "-o", "run"), 2, "standard input"),
    ],
)
def test_what_cannot_be_is_one_line(
    desk: Machine, here: Here, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    failed(here("self-train", *arguments, "-m", "model.safetensors"), code, reason)


def test_a_head_of_another_model_is_refused(desk: Machine, here: Here) -> None:
    from tests.support.mask_heads import head_config, stored_head

    stored_head(Path(desk.desk / "head"), head_config(small_crate(seed=3), token_width=12))
    failed(here("segment", "photos/00.png", "--head", "head", "-o", "a.png"), 2, "belongs to a model")

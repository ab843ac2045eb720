"""The built-in mask head as users meet it: it draws by default, is recorded, repeated, and can be left out."""

import json

import pytest

from cratecli.weights.registry import load_registry
from tests.cli.conftest import Here, Machine, failed

SHA256 = load_registry().find("crate-nano").head_sha256

pytestmark = pytest.mark.usefixtures("shipped_sizes")


def test_it_draws_by_default_and_is_recorded_and_repeated(machine: Machine, here: Here) -> None:
    done = here("segment", machine.photo("photo.png"), "-o", "out/mask.png", "--json")
    assert done.code == 0, done.err
    assert "drawn by the built-in head" in done.err
    (record,) = json.loads(done.out)
    assert (record["head"], record["head_sha256"], record["threshold"]) == ("built-in", SHA256, 0.5)
    explained = here("explain", "out/mask.png")
    assert " --head built-in " in explained.lines[0]
    assert not explained.err
    before = (machine.desk / "out/mask.png").read_bytes()
    (machine.desk / "out/mask.png").unlink()
    assert here(*explained.lines[0].split()[1:]).code == 0
    assert (machine.desk / "out/mask.png").read_bytes() == before


def test_without_it_nothing_says_that_it_drew(machine: Machine, here: Here) -> None:
    done = here("segment", machine.photo("photo.png"), "-o", "mask.png", "--json", "--head", "none")
    assert "drawn by" not in done.err
    assert json.loads(done.out)[0].get("head") is None
    assert " --head none " in here("explain", "mask.png", "-q").lines[0]


def test_another_head_in_the_package_is_a_doubt(machine: Machine, here: Here) -> None:
    here("segment", machine.photo("photo.png"), "-o", "all.json")
    file = machine.desk / "all.json"
    assert not here("explain", "all.json").err
    file.write_text(file.read_text().replace(str(SHA256), "1" * 64))
    assert "the built-in mask head is not the one it was made with" in here("explain", "all.json").err


def test_a_run_is_resumed_with_the_head_it_began_with(machine: Machine, here: Here) -> None:
    machine.photo("photos/a.png")
    assert here("segment", "photos/", "-o", "masks/").code == 0
    again = here("segment", "photos/", "-o", "masks/", "--resume")
    assert again.code == 0, again.err
    assert "1 photo was done before" in again.err
    other = here("segment", "photos/", "-o", "masks/", "--resume", "--head", "none")
    assert other.code == 0
    assert "done before" not in other.err


def test_what_it_cannot_mend_is_drawn_without_it_unless_it_is_asked_for(machine: Machine, here: Here) -> None:
    photo = machine.photo("photo.png")
    done = here("segment", photo, "-o", "a.png", "--size", "96")
    assert done.code == 0
    assert "drawn by" not in done.err
    words = ("segment", photo, "-o", "b.png", "--head", "built-in")
    failed(here(*words, "--size", "96"), 2, "the built-in head reads sizes 64,96,192: leave --size out")
    failed(here(*words, "--at", "9,9"), 2, "a mask head takes no clicks")


def test_the_worker_has_it_too(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    asked: list[dict[str, str]] = [{}, {"head": "none"}, {"head": "built-in"}]
    lines = "".join(json.dumps({"input": "photo.png"} | each) + "\n" for each in asked)
    answers = list(map(json.loads, here("worker", stdin=lines.encode()).lines))
    assert [each.get("head") for each in answers] == ["built-in", None, "built-in"]
    assert answers[0]["rle"] == answers[2]["rle"]

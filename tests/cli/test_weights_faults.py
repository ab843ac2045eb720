"""Faults 17 to 22 of weights, each provoked through `crate`; a local server plays the network."""

import hashlib
import json
import pickle
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.weights import download, drive
from tests.cli.conftest import Done, Here, Machine
from tests.support.checkpoints import released
from tests.support.server import REVISION, Answer, Server
from tests.support.waiting import until
from tests.support.warm import warm_crate

TINY = "crate_tiny_patch16_224"
GOOD = b"\x80\x02weights" * 100_000
WRONG = GOOD[:-1] + b"?"
SHA = hashlib.sha256(GOOD).hexdigest()
HTML = {"Content-Type": "text/html"}
QUOTA = b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>"
HUB_FILE = f"/owner/name/resolve/{REVISION}/torch/m.pth"
NO_XET: dict[str, Any] = {"HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def hub(machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Let the server stand in for the Hub in this process."""
    server.stand_in_for_hub(machine.home / "cache/huggingface/hub", monkeypatch)
    return server


def row(name: str, source: str, *, pinned: bool = True) -> str:
    pins = f'bytes = {len(GOOD)}\nsha256 = "{SHA}"\n' if pinned else ""
    return f'[models.{name}]\narchitecture = "{TINY}"\n{pins}{source}\n'


def on_hub(revision: str = REVISION) -> str:
    return f'hub = {{ repository = "owner/name", revision = "{revision}", file = "torch/m.pth" }}'


def kept(machine: Machine) -> list[str]:
    """List what the cache folder holds, locks aside."""
    files = (
        path.relative_to(machine.cache).as_posix() for path in machine.cache.rglob("*") if path.is_file()
    )
    return sorted(name for name in files if not name.endswith(".lock"))


def refused(done: Done, code: int = 4) -> str:
    """Check that a run was refused in one line on stderr, and give that line."""
    assert (done.code, done.out, done.err.count("\n")) == (code, b"", 1), done.err
    assert done.err.startswith("crate: ")
    return done.err


class Bomb:
    """Pickles as a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_17_code_in_a_file_is_refused_never_run_and_not_advised(machine: Machine, here: Here) -> None:
    marker, file = machine.home / "ran", machine.desk / "m.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "args": Bomb(marker)}, file)
    force: dict[str, Any] = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    err = refused(here("segment", machine.photo("a.png"), "-m", file, **force))
    assert err == f"crate: {file}: refused: it is not a file of plain tensors\n"
    pickled = machine.desk / "m.pkl"
    pickled.write_bytes(pickle.dumps(Bomb(marker)))
    err = refused(here("models", "add", pickled, "--as", "m", "--heads", "3", **force))
    assert err == f"crate: {pickled}: refused: it is not a file of plain tensors\n"
    assert not marker.exists()


def test_18_wrong_bytes_of_the_right_size_and_damaged_copies(
    machine: Machine, here: Here, hub: Server
) -> None:
    machine.register(row("far", f'url = "{hub.address}/m"') + row("hub", on_hub()))
    hub.answers["/m"] = Answer(WRONG)
    hub.serve_hub(WRONG, SHA)
    for name in ("far", "hub"):
        err = refused(here("models", "pull", name))
        assert (
            f" has sha256 {hashlib.sha256(WRONG).hexdigest()}, not {SHA}; if you have the file, run: " in err
        )
    assert kept(machine) == []
    hub.answers["/m"] = Answer(GOOD)
    hub.serve_hub(GOOD, SHA)
    for name in ("far", "hub"):
        done = here("models", "pull", name)
        assert (done.code, done.err) == (0, "")
        file = Path(done.lines[0])
        file.resolve().write_bytes(WRONG)
        err = refused(here("segment", machine.photo("a.png"), "-m", name))
        assert err.endswith(f", not {SHA}: refused as {name}; run: crate models pull {name}\n")
        assert here("models", "pull", name).code == 0
        assert file.read_bytes() == GOOD


def test_18_an_unpinned_file_is_what_it_was_at_first_use(
    machine: Machine, here: Here, server: Server
) -> None:
    machine.register(row("far", f'url = "{server.address}/m"', pinned=False))
    server.answers["/m"] = Answer(GOOD)
    file = Path(here("models", "pull", "far").lines[0])
    assert json.loads((machine.cache / "hashes.json").read_text()) == {"far": SHA}
    file.write_bytes(WRONG)
    done = here("models", "verify", "far")
    assert (done.code, done.err) == (4, "crate: not as registered: far; run: crate models pull far\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(QUOTA, headers=HTML), "an HTML page came (quota or login?), not weights"),
        (Answer(QUOTA), "what it sent is an HTML page, not weights"),
        (Answer(b"", 401), "the server answered 401 (does it want a login?)"),
        (Answer(b"", 404), "the server answered 404"),
        (Answer(GOOD[:999]), "what it sent has sha256"),
        (
            Answer(GOOD[:999], announced=len(GOOD)),
            "peer closed connection without sending complete message body",
        ),
        (Answer(b"", 302, {"Location": "/m"}), "Exceeded maximum allowed redirects"),
    ],
)
def test_19_what_is_not_the_file_is_one_line_and_never_kept(
    machine: Machine, here: Here, server: Server, answer: Answer, reason: str
) -> None:
    machine.register(
        f'[models.far]\narchitecture = "{TINY}"\nsha256 = "{SHA}"\nurl = "{server.address}/m"\n'
        if len(answer.body) == 999
        else row("far", f'url = "{server.address}/m"', pinned=False)
    )
    server.answers["/m"] = answer
    err = refused(here("models", "pull", "far"))
    assert err.startswith(f"crate: cannot fetch far: 127.0.0.1: {reason}")
    assert err.endswith("; if you have the file, run: crate models add FILE --as far\n")
    assert kept(machine) == (["models/far/weights.unfinished"] if answer.announced else [])


def test_19_a_gated_model_says_what_to_do(machine: Machine, here: Here, hub: Server) -> None:
    machine.register(row("hub", on_hub()))
    hub.answers[HUB_FILE] = Answer(b"", 403, {"X-Error-Code": "GatedRepo"})
    err = refused(here("models", "pull", "hub"))
    assert (
        "the server answered 403: accept its terms on its page at https://huggingface.co, then run: hf auth"
        in err
    )


def test_19_mirrors_are_tried_in_turn_and_each_failure_is_told(
    machine: Machine, here: Here, server: Server
) -> None:
    closed = "http://localhost:1/m"
    machine.register(
        row("good", f'url = ["{closed}", "{server.address}/none", "{server.address}/m"]')
        + row("bad", f'url = ["{closed}", "{server.address}/none"]')
    )
    server.answers["/m"] = Answer(GOOD)
    assert here("models", "pull", "good").code == 0
    err = refused(here("models", "pull", "bad"))
    assert re.search(
        r"cannot fetch bad: localhost: .*refused; 127\.0\.0\.1: the server answered 404; if ", err
    )


def test_19_drives_pages_and_a_server_that_stalls(
    machine: Machine, here: Here, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "ADDRESS", f"{server.address}/download")
    machine.register(row("drive", 'drive = "abc-1"') + row("far", f'url = "{server.address}/m"'))
    first = "/download?id=abc-1&export=download&confirm=t"
    server.answers[first] = Answer(QUOTA, headers=HTML)
    err = refused(here("models", "pull", "drive"))
    quota = (
        "cannot fetch drive: Google Drive: its download quota for this file is used up: try again in a day;"
    )
    assert err.startswith(f"crate: {quota}")
    assert kept(machine) == []
    form = b'<form id="download-form"><input type="hidden" name="uuid" value="7"></form>'
    server.answers[first] = Answer(form, headers=HTML)
    server.answers[first + "&uuid=7"] = Answer(GOOD)
    done = here("models", "pull", "drive")
    assert (done.code, done.err) == (0, "")
    server.answers["/m"] = Answer(GOOD[:99], announced=len(GOOD), stalls=True)
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    assert "127.0.0.1: the server stalled; " in refused(here("models", "pull", "far"))


def test_19_offline_is_answered_at_once(machine: Machine, here: Here, hub: Server) -> None:
    machine.register(row("far", f'url = "{hub.address}/m"') + row("hub", on_hub()))
    variable: dict[str, Any] = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.address}
    for name, why, done in (
        ("far", "--offline", here("models", "pull", "far", "--offline")),
        ("hub", "--offline", here("models", "pull", "hub", "--offline")),
        ("hub", "HF_HUB_OFFLINE", machine.crate("models", "pull", "hub", **variable)),
    ):
        remedy = f"pull it without, or if you have the file, run: crate models add FILE --as {name}"
        expected = f"crate: {name} is not on this machine, and {why} forbids to fetch it: {remedy}\n"
        assert refused(done) == expected
    brought = machine.desk / "brought.pth"
    brought.write_bytes(GOOD)
    added = here("models", "add", brought, "--as", "far")
    assert (added.code, added.err) == (0, "")
    assert here("models", "pull", "far", "--offline").lines == added.lines
    assert hub.asked == []


def test_20_packed_records_and_unfit_tensors(machine: Machine, here: Here) -> None:
    whole, packed, unfit = (machine.desk / name for name in ("whole.pth", "packed.pth", "unfit.pth"))
    torch.save({"a": torch.zeros(99, 99)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    err = refused(here("models", "add", packed, "--as", "m", "--heads", "3"))
    assert err.endswith("its records are compressed, or more than the file holds\n")
    torch.save({"cls_token": torch.zeros(1).expand(10**6, 10**6)}, unfit)
    err = refused(here("segment", machine.photo("a.png"), "-m", unfit))
    assert err.endswith("refused: its tensors claim to be larger than the file\n")


def test_20_every_tensor_that_does_not_fit_is_listed(machine: Machine, here: Here) -> None:
    tensors = released(Crate(CrateConfig(patch_size=4, width=12, heads=3, depth=2, image_size=16, classes=5)))
    del tensors["cls_token"]
    tensors["mlp_head.1.bias"] = torch.zeros(7)
    tensors["transformer.layers.1.1.fn.net.0.weight"] = torch.zeros(2)
    tensors["pos_embedding"] = torch.full_like(tensors["pos_embedding"], torch.nan)
    file = machine.desk / "m.pth"
    torch.save(tensors, file)
    assert here("models", "add", file, "--as", "m", "--heads", "3").code == 0  # loading looks closer
    err = refused(here("segment", machine.photo("a.png"), "-m", "m"))
    assert err.endswith(
        ": does not fit its architecture; missing: class_token; "
        "unexpected: layers.1.sparsifier.up.weight; misshapen: head.bias (7,) for (5,); "
        "not finite: position_embedding\n"
    )


def test_21_the_token_goes_to_no_other_endpoint(machine: Machine, server: Server) -> None:
    machine.register(row("far", f'url = "{server.address}/m"') + row("hub", on_hub()))
    server.answers["/m"] = Answer(GOOD)
    server.serve_hub(GOOD, SHA)
    stored = machine.home / "hf/token"
    stored.parent.mkdir(parents=True)
    stored.write_text("hf_stored")
    mirror = NO_XET | {"HF_ENDPOINT": server.address}
    given, saved = {"HF_TOKEN": "hf_secret"}, {"HF_HOME": str(stored.parent)}
    for name, token in (("far", given | saved), ("hub", given), ("hub", saved)):
        done = machine.crate("models", "pull", name, **mirror | token)
        assert (done.code, done.err) == (0, "")
    assert ("GET", HUB_FILE) in server.asked
    assert server.tokens == []


def start(machine: Machine, name: str, **more: Any) -> subprocess.Popen[str]:
    """Start a pull that SIGINT ends, even where this process ignores it, as one in a shell's background does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # unlike SIG_IGN, not inherited
    try:
        return machine.start("models", "pull", name, program=[warm_crate()], **NO_XET, **more)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("ranges", [True, False])
def test_21_a_pull_that_was_killed_goes_on_or_begins_again(
    machine: Machine, here: Here, server: Server, ranges: bool
) -> None:
    machine.register(row("far", f'url = "{server.address}/m"'))
    half = len(GOOD) // 2
    server.answers["/m"] = Answer(GOOD[:half], announced=len(GOOD), stalls=True)
    process = start(machine, "far")
    unfinished = machine.cache / "models/far/weights.unfinished"
    until(lambda: unfinished.exists() and unfinished.stat().st_size > half // 2)
    process.kill()
    process.communicate()
    came = unfinished.stat().st_size
    server.answers["/m"] = Answer(GOOD, ranges=ranges)
    done = here("models", "pull", "far")
    assert (done.code, done.err) == (0, "")
    assert Path(done.lines[0]).read_bytes() == GOOD
    assert server.ranges == [f"bytes={came}-"]
    assert kept(machine) == ["models/far/weights"]


def test_21_an_interrupted_pull_says_so_and_goes_on(machine: Machine, here: Here, server: Server) -> None:
    machine.register(row("far", f'url = "{server.address}/m"'))
    server.answers["/m"] = Answer(GOOD[: len(GOOD) // 2], announced=len(GOOD), stalls=True)
    process = start(machine, "far")
    unfinished = machine.cache / "models/far/weights.unfinished"
    until(lambda: unfinished.exists() and unfinished.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "crate: interrupted\n")
    came = unfinished.stat().st_size
    server.answers["/m"] = Answer(GOOD, ranges=True)
    assert here("models", "pull", "far").code == 0
    assert server.ranges == [f"bytes={came}-"]
    assert kept(machine) == ["models/far/weights"]


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [True, False])
def test_21_a_pull_that_is_killed_again_and_again_ends_whole(
    machine: Machine, server: Server, ranges: bool
) -> None:
    machine.register(row("far", f'url = "{server.address}/m"'))
    server.answers["/m"] = Answer(GOOD, ranges=ranges, pause=0.05)
    random = Random(0)
    for _ in range(30):
        process = start(machine, "far")
        time.sleep(random.uniform(0.1, 1.0))
        process.kill()
        process.communicate()
        assert set(kept(machine)) <= {"models/far/weights", "models/far/weights.unfinished"}
        (machine.cache / "models/far/weights").unlink(missing_ok=True)
    done = machine.crate("models", "pull", "far")
    assert (done.code, done.err) == (0, "")
    assert Path(done.lines[0]).read_bytes() == GOOD
    assert kept(machine) == ["models/far/weights"]


def test_21_four_processes_fetch_once(machine: Machine, server: Server) -> None:
    """From the Hub; from an address in `tests/weights/test_pull_hub.py`."""
    machine.register(row("hub", on_hub()))
    server.serve_hub(GOOD, SHA)
    processes = [start(machine, "hub", HF_ENDPOINT=server.address) for _ in range(4)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    assert server.asked.count(("GET", HUB_FILE)) == 1


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"[models.m\n", 1, "Expected"),
        (b"\n[models.m]\nnote = 1\nnote = 2\n", 4, "Cannot overwrite"),
        (b"\xef\xbb\xbf[models.m]\n", 1, "Invalid"),
        (b"# \n# \xff\n", 2, "not UTF-8"),
        (b"a = " + b"[" * 3000, 1, "nested too deeply"),
        (b"\n[models.m]\nnote = 'x'\n", 2, "models.m: architecture is missing"),
        (b"[models.m]\narchitecture = 'crate_tony'\n", 2, "models.m: architecture is 'crate_tony': unknown"),
        (
            b"[models.m]\narchitecture = 'crate_tiny_patch16_224'\ndepth = 1e9\n",
            3,
            "models.m: depth is 1000000000.0: should be a valid integer",
        ),
    ],
)
def test_22_a_broken_registry_is_named_with_file_and_line(
    machine: Machine, here: Here, text: bytes, line: int, reason: str
) -> None:
    mine = machine.desk / "mine.toml"
    mine.write_bytes(text)
    err = refused(here("models", "list", CRATE_WEIGHTS_TOML=str(mine)), code=2)
    assert err.startswith(f"crate: {mine}:{line}: ")
    assert reason in err


def test_22_registries_go_over_each_other(machine: Machine, here: Here) -> None:
    machine.register(row("a", 'note = "own"') + row("b", 'note = "own"'))
    mine = machine.desk / "mine.toml"
    mine.write_text(row("b", 'note = "mine"') + row("crate-alpha-b16-in1k", 'note = "mine"'))
    done = here("models", "list", "--json", CRATE_WEIGHTS_TOML=str(mine))
    notes = {record["name"]: record["note"] for record in json.loads(done.out)}
    assert (notes["a"], notes["b"], notes["crate-alpha-b16-in1k"]) == ("own", "mine", "mine")
    assert "crate-nano" in notes

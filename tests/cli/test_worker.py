"""`crate worker` as a program meets it: a request a line, an answer a line, and no request that ends it."""

import base64
import codecs
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cratecli.cli.commands import worker
from tests.cli.conftest import Here, Machine
from tests.support.waiting import PATIENCE
from tests.support.warm import warm_crate

QUICK = {"sizes": [64], "refine": "none", "layers": [-1]}
SAME = ("--size", "64", "--refine", "none", "--layer", "-1", "--batch-size", "1", "-q")


def asked(here: Here, *requests: object, options: tuple[str, ...] = ("-q",), code: int = 0) -> list[Any]:
    """Ask a worker in this process; what is no text is asked in JSON."""
    lines = [each if isinstance(each, str | bytes) else json.dumps(each) for each in requests]
    content = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    done = here("worker", *options, stdin=content)
    assert (done.code, done.err) == (code, "")
    return [json.loads(line, parse_constant=pytest.fail) for line in done.lines]


# Answers.


def test_every_field_of_a_mask(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    first, second, third = asked(
        here,
        {"input": "photo.png", "output": "new/mask.png", "id": 1},
        {"input": "photo.png", **QUICK, "heads": [0, 2], "keep": "mass:0.5", "min_area": 0, "largest": True},
        {"input": "photo.png", "fill_holes": False, "rle": False, "as": "soft", "png": True, "heads": "all"},
    )
    assert (machine.desk / "new/mask.png").read_bytes().startswith(b"\x89PNG")
    assert (first["id"], first["input"], first["output"]) == (1, "photo.png", "new/mask.png")
    assert "rle" not in first
    assert second["rle"]["size"] == [36, 48]
    assert (second["heads"], second["layers"], second["sizes"]) == ([0, 2], [7], [64])
    assert (second["keep"], second["refine"], second["output"]) == ("mass:0.5", "none", None)
    assert base64.b64decode(third["png"]).startswith(b"\x89PNG")
    assert "rle" not in third
    assert "id" not in third
    assert not (machine.desk / "photo.mask.png").exists()


def test_a_click(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    click, outside, half, objects = asked(
        here,
        {"input": "photo.png", **QUICK, "at": [[9, 8]], "not_at": [[40, 30]]},
        {"input": "photo.png", **QUICK, "at": [[48, 8]]},
        {"input": "photo.png", **QUICK, "at": [9, 8]},
        {"command": "objects", "input": "photo.png", "at": [[9, 8]]},
    )
    assert click["rle"]["size"] == [36, 48]
    assert outside["error"] == "48,8 is outside the photo: upright it is 48 × 36 px, counted from 0"
    assert "at is [9, 8], not a list of pixels" in half["error"]
    assert "unknown field 'at'" in objects["error"]
    assert {each["exit_code"] for each in (outside, half, objects)} == {2}


def test_every_field_of_objects(machine: Machine, here: Here) -> None:
    machine.photo("photo.png")
    asking = {"command": "objects", "input": "photo.png"}
    plain, told = asked(
        here,
        asking | {"output": "objects.png", "as": "labels", "min_score": 0, "min_best": 0},
        asking
        | {"by": "maskcut", "layers": [-2], "sizes": [64], "count": 1, "tau": 0, "min_best": 0.1}
        | {"min_score": 0, "refine": "guided", "png": True},
    )
    assert (machine.desk / "objects.png").exists()
    assert plain["objects"]
    assert (told["layers"], told["sizes"], told["tau"], told["refine"]) == ([6], [64], 0, "guided")
    assert len(told["objects"]) <= 1
    assert told["png"]


@pytest.mark.parametrize("kind", ["mask", "soft", "soft16", "cutout", "overlay", "objects"])
def test_pictures_are_those_of_the_command_to_the_byte(machine: Machine, here: Here, kind: str) -> None:
    machine.photo("photo.png")
    if kind == "objects":
        asking = {
            "command": "objects",
            "input": "photo.png",
            "output": "x.png",
            "min_best": 0,
            "refine": "none",
        }
        command: list[str] = ["objects", "photo.png", "--min-best", "0", "--refine", "none", *SAME[-3:]]
    else:
        asking = {"input": "photo.png", "output": "x.png", "as": kind, **QUICK, "min_area": 0}
        command = ["segment", "photo.png", "--as", kind, "--min-area", "0", *SAME]
    limit = ("--max-pixels", "9999")
    asked(here, asking, options=("-q", *limit))
    here(*command, *limit, "-o", "y.png")
    assert (machine.desk / "x.png").read_bytes() == (machine.desk / "y.png").read_bytes()


def test_a_photo_in_base64_is_a_photo_through_a_pipe(machine: Machine, here: Here) -> None:
    content = machine.photo("photo.png").read_bytes()
    broken = base64.encodebytes(content).decode()  # in lines
    (answer,) = asked(here, {"image": broken, "png": True, **QUICK})
    piped = here("segment", "-", *SAME, stdin=content)
    assert answer["input"] == "standard input"
    assert base64.b64decode(answer["png"]) == piped.out


def test_a_warm_answer_loads_no_model(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    from cratecli.weights import loading

    machine.photo("photo.png")
    loads, load = [], loading.load

    def counted(*given: Any, **named: Any) -> Any:
        loads.append(given)
        return load(*given, **named)

    monkeypatch.setattr(loading, "load", counted)
    assert len(asked(here, *[{"input": "photo.png", **QUICK}] * 3)) == 3
    assert len(loads) == 1


@pytest.mark.parametrize(
    "name", [None, True, 0, -1.5, "two\nlines", "\ud800", [1, [2]], {"a": {"b": None}}, 10**40]
)
def test_an_id_of_any_kind_comes_back(here: Here, name: object) -> None:
    (answer,) = asked(here, {"id": name})
    assert answer["id"] == name
    assert answer["error"].startswith("a request has either input")


# Errors are answers.

NO_JSON = "a request is a line of JSON"
BAD: dict[str, tuple[object, str, int]] = {
    "a picture among the answers": ({"input": "photo.png", "output": "/dev/stdout"}, "takes the answers", 2),
    "no json": ("hello", NO_JSON, 2),
    "half a line of json": ('{"input": "x"', NO_JSON, 2),
    "two objects": ("{} {}", NO_JSON, 2),
    "no utf-8": (b'{"id": "\xff"}', NO_JSON, 2),
    "nan": ('{"id": NaN}', NO_JSON, 2),
    "a number beyond all": ('{"id": [1e999]}', NO_JSON, 2),
    "digits without end": ('{"id": ' + "9" * 10_000 + "}", NO_JSON, 2),
    "deep": ("[" * 100_000, NO_JSON, 2),
    "a deep id": ('{"id": ' + "[" * 100_000 + "]" * 100_000 + "}", NO_JSON, 2),
    "a list": ([], "a request is a JSON object", 2),
    "a number": ("3", "a request is a JSON object", 2),
    "a field twice": ('{"input": "a", "input": "b"}', "a request names each field once", 2),
    "nothing": ({}, "a request has either input, a path, or image", 2),
    "both": ({"input": "a", "image": "b"}, "a request has either input, a path, or image", 2),
    "another field": ({"input": "a", "inptu": 1}, "unknown field 'inptu'; segment takes id, command", 2),
    "a field of the other command": ({"input": "a", "tau": 0.1}, "unknown field 'tau'; segment takes", 2),
    "another command": ({"command": "rm"}, "command is 'rm', not one of segment, objects", 2),
    "a command that is none": ({"command": ["segment"]}, "command is ['segment'], not one of", 2),
    "another kind": ({"input": "photo.png", "as": "labels"}, "as is 'labels', not one of mask, soft", 2),
    "a kind of no command": (
        {"input": "photo.png", "as": "mask", "command": "objects"},
        "as is 'mask', not one of overlay, labels",
        2,
    ),
    "an empty path": ({"input": ""}, "input is '', not a path", 2),
    "standard input": ({"input": "-"}, "input is '-', not a path", 2),
    "standard output": ({"input": "a", "output": "-"}, "output is '-', not a path", 2),
    "a NUL": ({"input": "a\0b"}, "input is 'a\\x00b', not a path", 2),
    "half a surrogate": ({"input": "photo.png", "output": "\ud800"}, "output is '\\ud800', not a path", 2),
    "a path that is a number": ({"input": 3}, "input is 3, not a path", 2),
    "no photo": ({"input": "none.png"}, "none.png: no such file", 1),
    "a name too long": ({"input": "x" * 5000}, "cannot be read: File name too long", 1),
    "a folder": ({"input": "."}, ".: a folder, not a file", 1),
    "no image": ({"input": "text.png"}, "text.png: ", 1),
    "no base64": ({"image": "é"}, "image is not base64", 1),
    "half a base64": ({"image": "abcde"}, "image is not base64", 1),
    "base64 of nothing": ({"image": ""}, "standard input: empty", 1),
    "output into a folder": ({"input": "photo.png", "output": "folder"}, "folder is a folder", 2),
    "output of a long name": ({"input": "photo.png", "output": "a" * 300}, "File name too long", 1),
    "output with a slash": ({"input": "photo.png", "output": "x/"}, "x/ is a folder", 2),
    "output over the input": ({"input": "photo.png", "output": "./photo.png"}, "photo.png is an input", 2),
    "output over a link to the input": (
        {"input": "link.png", "output": "photo.png"},
        "photo.png is an input",
        2,
    ),
    "a mask as jpeg": ({"input": "photo.png", "output": "x.jpg"}, "JPEG alters mask pictures", 2),
    "an output that is no picture": (
        {"input": "photo.png", "output": "x.bmp"},
        "x.bmp: only pictures that end with .png",
        2,
    ),
    "a crop of nothing": ({"input": "photo.png", "crop": True}, "crop is of pictures: ask for one", 2),
    "two formats": ({"input": "photo.png", "output": "x.webp", "png": True}, "png asks for a PNG", 2),
    "output below a file": (
        {"input": "photo.png", "output": "text.png/x.png", **QUICK},
        "text.png/x.png: cannot be written",
        1,
    ),
    "a full disk": (
        {"input": "photo.png", "output": "/dev/full", **QUICK},
        "/dev/full: cannot be written: No space left on device",
        1,
    ),
    "a URL that leads nowhere": ({"input": "memory://b/a.jpg"}, "memory://b/a.jpg: no such object", 1),
    "a shard that is none": ({"input": "none.tar::a.jpg"}, "none.tar: No such file or directory", 1),
    "a URL to write to": (
        {"input": "photo.png", "output": "gs://bucket/a.png"},
        "gs://bucket/a.png: URLs cannot be written yet",
        2,
    ),
    "layers": ({"input": "photo.png", "layers": [99]}, "layer 99", 2),
    "layers in words": (
        {"input": "photo.png", "layers": "1"},
        "layers is '1', not a list of whole numbers or 'all'",
        2,
    ),
    "no layers": ({"input": "photo.png", "layers": []}, "layers is empty: at least one", 2),
    "sizes": ({"input": "photo.png", "sizes": [10**30]}, "sizes is 1000", 2),
    "sizes that are true": ({"input": "photo.png", "sizes": [True]}, "sizes is True, not a whole number", 2),
    "heads": ({"input": "photo.png", "heads": [99]}, "head 99", 2),
    "heads in words": (
        {"input": "photo.png", "heads": "some"},
        "heads is 'some', not 'auto', 'agree' or 'all' or a list",
        2,
    ),
    "keep": ({"input": "photo.png", "keep": ""}, "'' is not mass:F", 2),
    "refine": ({"input": "photo.png", "refine": "x"}, "refine is 'x', not 'none', 'guided' or", 2),
    "min_area": ({"input": "photo.png", "min_area": 10**400}, "min_area is 1000", 2),
    "a full area": ({"input": "photo.png", "min_area": 1}, "min_area is 1, not less than 1", 2),
    "largest": ({"input": "photo.png", "largest": "yes"}, "largest is 'yes', not true or false", 2),
    "png": ({"input": "photo.png", "png": None}, "png is None, not a value", 2),
    "tau": (
        {"input": "photo.png", "command": "objects", "tau": 2},
        "tau is 2, not less than or equal to 1",
        2,
    ),
    "count": ({"input": "photo.png", "command": "objects", "count": 0}, "count is 0, not greater", 2),
    "a size": (
        {"input": "photo.png", "command": "objects", "sizes": [1.5]},
        "sizes is 1.5, not a whole number",
        2,
    ),
}


@pytest.fixture
def laid_out(machine: Machine) -> Machine:
    machine.photo("photo.png")
    (machine.desk / "text.png").write_text("hello")
    (machine.desk / "folder").mkdir()
    (machine.desk / "link.png").symlink_to("photo.png")
    return machine


def test_what_is_wrong_is_an_answer_and_the_worker_goes_on(laid_out: Machine, here: Here) -> None:
    photo, before = (laid_out.desk / "photo.png").read_bytes(), laid_out.files()
    answers = asked(here, *(request for request, _, _ in BAD.values()), {"input": "photo.png", **QUICK})
    for name, (request, reason, code), answer in zip(BAD, BAD.values(), answers, strict=False):
        assert reason in answer["error"], name
        assert answer["exit_code"] == code, name
        assert answer["error"].isprintable() or "\ud800" in str(request), name
        assert set(answer) <= {"id", "error", "exit_code"}
    assert len(answers) == len(BAD) + 1
    assert answers[-1]["area"] > 0
    assert (laid_out.desk / "photo.png").read_bytes() == photo
    assert laid_out.files() == before


def test_blank_lines_and_other_line_ends(laid_out: Machine, here: Here) -> None:
    assert asked(here, "", "  \t", b"\r", b'{"id": 1}\r', '{"id": 2}')[1]["id"] == 2
    done = here("worker", "-q", stdin=b'{"id": 3}')  # no end of line
    assert json.loads(done.out)["id"] == 3


def test_a_mark_before_the_first_request(laid_out: Machine, here: Here) -> None:
    """FAULTS 29: what PowerShell puts before a text."""
    request = json.dumps({"input": "photo.png", "sizes": [32], "refine": "none"}).encode()
    answers = here("worker", "-q", stdin=codecs.BOM_UTF8 + request).lines
    assert [json.loads(answer)["input"] for answer in answers] == ["photo.png"]


def test_a_line_too_long_is_one_answer(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONGEST", 50)
    answers = asked(here, {"id": "x" * 45}, {"id": "y" * 1000}, {"id": 3})
    assert [answer["error"] for answer in answers[:2]] == [NO_JSON, NO_JSON]
    assert [answer.get("id") for answer in answers] == [None, None, 3]


def test_the_most_pixels(laid_out: Machine, here: Here) -> None:
    (answer,) = asked(here, {"input": "photo.png"}, options=("-q", "--max-pixels", "100"))
    assert "more than 100 pixels" in answer["error"] or "--max-pixels" in answer["error"]


def test_what_the_command_itself_cannot(here: Here) -> None:
    assert here("worker", "-m", "none").code == 2
    assert here("worker", "--device", "nowhere").code == 2


# Real processes.


@contextmanager
def at_work(machine: Machine, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker, and wait until it is ready."""
    with machine.start("worker", *options, program=[warm_crate()], stdin=subprocess.PIPE) as process:
        assert process.stderr
        try:
            assert process.stderr.readline() == "crate: crate-nano, onnx cpu float32: ready\n"
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str], request: dict[str, Any]) -> Any:
    """Write one line, and wait for its answer before another is written."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def test_a_conversation_that_a_signal_ends_at_once(laid_out: Machine) -> None:
    with at_work(laid_out) as process:
        for number in range(5):
            assert ask(process, {"input": "photo.png", "id": number, **QUICK})["id"] == number
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
        assert process.stderr
        told = process.stderr.read()  # it may have been on its way back from the answer
        assert told in ("", "crate: finishing what is in hand; once more ends at once\n")


def test_a_signal_lets_the_photo_in_hand_be_answered(machine: Machine) -> None:
    """Here it is in hand until its output, a pipe that holds less, is read."""
    machine.photo("large.png", (400, 400))
    os.mkfifo(machine.desk / "pipe.png")
    last = {"input": "large.png", "output": "pipe.png", "as": "soft16", "heads": "agree", "id": "last"}
    with at_work(machine) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(json.dumps(last) + "\n" + '{"id": 2}\n')
        process.stdin.flush()
        with (machine.desk / "pipe.png").open("rb") as pipe:
            process.send_signal(signal.SIGINT)
            told = process.stderr.readline()
            assert told == "crate: finishing what is in hand; once more ends at once\n"
            assert len(pipe.read()) > 65536
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        (answer,) = map(json.loads, out.splitlines())
        assert answer["id"] == "last"


def test_streams_that_are_closed(laid_out: Machine) -> None:
    (laid_out.desk / "requests").write_text('{"id": 1}\n' * 20_000)
    done = laid_out.shell(
        "crate worker -q < requests | head -1; echo ${PIPESTATUS[0]}; crate worker -q <&-; echo $?"
    )
    answer, *codes = done.lines
    assert json.loads(answer)["id"] == 1
    assert codes == ["141", "0"]
    assert done.err == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")
def test_memory_is_flat(machine: Machine) -> None:
    machine.photo("photo.png")

    def memory(process: subprocess.Popen[str]) -> int:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    with at_work(machine) as process:
        request = {"input": "photo.png", "output": "mask.png", "png": True, **QUICK}
        for _ in range(200):
            ask(process, request)
        before = memory(process)
        for _ in range(1000):
            ask(process, request)
        assert memory(process) - before < 5_000_000

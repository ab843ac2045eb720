"""Which photo goes where, settled before the first write; and what outlives a failed one."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from cratecli.errors import InputError, NothingMatchedError, OutputError, UsageError
from cratecli.tasks.batch import Failure, Job, deliver, outlive, plan, read_in_batches


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own."""
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def planned(*inputs: str, to: str | None = None, to_stdout: bool = False) -> dict[str, str | None]:
    """Give the plan as names: input → output."""
    jobs = plan(inputs, to, "mask", to_stdout=to_stdout)
    return {
        "-" if job.source is None else str(job.source): None if job.target is None else str(job.target)
        for job in jobs
    }


def test_one_photo() -> None:
    touch("in/photo.jpg")
    assert planned("in/photo.jpg") == {"in/photo.jpg": "photo.mask.png"}
    assert planned("in/photo.jpg", to_stdout=True) == {"in/photo.jpg": None}
    assert planned("in/photo.jpg", to="out/a.png") == {"in/photo.jpg": "out/a.png"}
    assert planned("in/photo.jpg", to="out/a.png", to_stdout=True) == {"in/photo.jpg": "out/a.png"}


def test_one_photo_into_a_folder() -> None:
    touch("in/photo.jpg", "out/other")
    assert planned("in/photo.jpg", to="out") == {"in/photo.jpg": "out/photo.png"}
    assert planned("in/photo.jpg", to="new/") == {"in/photo.jpg": "new/photo.png"}
    assert planned("in/photo.jpg", to="new") == {"in/photo.jpg": "new"}


def test_standard_input() -> None:
    assert planned("-", to_stdout=True) == {"-": None}
    assert planned("-") == {"-": "stdin.mask.png"}
    assert planned("-", to="a.png") == {"-": "a.png"}
    assert planned("-", "b.jpg", to="out") == {"-": "out/stdin.png", "b.jpg": "out/b.png"}
    assert plan(["-"], None, "mask", to_stdout=True)[0].name == "standard input"
    with pytest.raises(UsageError, match="only once"):
        planned("-", "-")


def test_several_photos() -> None:
    assert planned("a.jpg", "in/b.png") == {"a.jpg": "a.mask.png", "in/b.png": "b.mask.png"}
    assert planned("a.jpg", "in/b.png", to_stdout=True) == planned("a.jpg", "in/b.png")
    assert planned("a.jpg", "in/b.png", to="out") == {"a.jpg": "out/a.png", "in/b.png": "out/b.png"}


def test_a_folder() -> None:
    touch("in/b.JPG", "in/a.png", "in/notes.txt", "in/.hidden.png", "in/sub/c.png", "in/d.webp")
    named = {"in/a.png": "a.png", "in/b.JPG": "b.png", "in/d.webp": "d.png"}
    assert planned("in") == {photo: f"in-masks/{name}" for photo, name in named.items()}
    assert planned("in/") == planned("in")
    assert planned("in", to_stdout=True) == planned("in")
    assert planned("in", to="out") == {photo: f"out/{name}" for photo, name in named.items()}
    assert list(planned("in")) == ["in/a.png", "in/b.JPG", "in/d.webp"]


def test_a_folder_is_named_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.png", "in/sub/x")
    monkeypatch.chdir("in")
    assert planned(".") == {"a.png": "in-masks/a.png"}
    monkeypatch.chdir("sub")
    assert planned("..") == {"../a.png": "in-masks/a.png"}


def test_folders_beside_each_other() -> None:
    touch("one/a.png", "two/a.png", "c.png")
    assert planned("one", "two", "c.png") == {
        "one/a.png": "one-masks/a.png",
        "two/a.png": "two-masks/a.png",
        "c.png": "c.mask.png",
    }
    assert planned("one", "two", "c.png", to="out") == {
        "one/a.png": "out/one/a.png",
        "two/a.png": "out/two/a.png",
        "c.png": "out/c.png",
    }


def test_inputs_that_share_a_stem_keep_their_extension() -> None:
    touch("in/a.jpg", "in/a.png", "in/A.webp", "in/b.jpg", "in/ß.jpg", "in/SS.jpg")
    assert planned("in", to="out") == {
        "in/a.jpg": "out/a.jpg.png",
        "in/a.png": "out/a.png.png",
        "in/A.webp": "out/A.webp.png",
        "in/b.jpg": "out/b.png",
        "in/ß.jpg": "out/ß.jpg.png",
        "in/SS.jpg": "out/SS.jpg.png",
    }
    assert planned("in/a.jpg", "in/A.webp") == {
        "in/a.jpg": "a.jpg.mask.png",
        "in/A.webp": "A.webp.mask.png",
    }


@pytest.mark.skipif(os.path.normcase("A") == "a", reason="names differ by more than case here")
def test_names_that_differ_by_case_alone_are_two() -> None:
    touch("in/a.jpg", "in/A.jpg")
    assert planned("in", to="out") == {"in/a.jpg": "out/a.jpg.png", "in/A.jpg": "out/A.jpg.png"}


@pytest.mark.parametrize(
    ("inputs", "to"),
    [
        (["one/a.jpg", "two/a.jpg"], "out"),
        (["one/a.jpg", "two/a.jpg"], None),
        (["one/a.jpg", "one/a.jpg"], "out"),
        (["one/a.jpg", "one/../one/a.jpg"], "out"),
        (["one/a.jpg", "one/a.png", "one/a.jpg.tif"], "out"),
        (["-", "one/stdin.jpg", "two/stdin.jpg"], "out"),
        (["one", "sub/one"], "out"),
    ],
)
def test_outputs_that_collide_are_refused(inputs: list[str], to: str | None) -> None:
    touch("one/a.jpg", "sub/one/a.jpg")
    with pytest.raises(UsageError, match="would both be written to"):
        planned(*inputs, to=to)


def test_an_output_that_is_an_input_is_refused() -> None:
    touch("in/a.png", "in/b.png")
    Path("link.png").symlink_to("in/a.png")
    Path("again").symlink_to("in")
    for inputs, to in (
        (["in/a.png"], "in/a.png"),
        (["in/a.png"], "in/../in/a.png"),
        (["in/a.png"], "link.png"),
        (["link.png"], "in/a.png"),
        (["in/a.png"], "in"),
        (["in"], "in"),
        (["in"], "again"),
        (["in/a.png", "in/b.png"], "in"),
    ):
        with pytest.raises(UsageError, match="is an input: choose another output"):
            planned(*inputs, to=to)


def test_an_output_beside_its_input_is_fine() -> None:
    touch("in/a.jpg")
    assert planned("in/a.jpg", to="in") == {"in/a.jpg": "in/a.png"}
    with pytest.raises(UsageError, match="in is an input: choose another output"):
        planned("in", to="in")


def test_a_name_that_says_something_else_is_refused() -> None:
    touch("a.jpg", "b.jpg")
    with pytest.raises(UsageError, match=r"^m\.JPG: only PNG is written"):
        planned("a.jpg", to="m.JPG")
    for inputs in (("a.jpg", "b.jpg"), (".",)):
        with pytest.raises(UsageError, match=r"^m\.png is one picture, and there are several: give a folder"):
            planned(*inputs, to="m.png")
    assert planned("a.jpg", to="m") == {"a.jpg": "m"}
    with pytest.raises(UsageError, match=r"addresses are not read; try: curl -s https://example\.org/a\.jpg"):
        planned("https://example.org/a.jpg", to="m.png")


def test_an_output_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="a path is empty"):
        planned("a.jpg", to="")


def test_nothing_matched() -> None:
    touch("in/notes.txt", "more/.hidden.jpg")
    with pytest.raises(NothingMatchedError, match="no photo in in, more"):
        planned("in", "more")


def test_a_name_that_cannot_be_is_left_for_reading() -> None:
    """What is wrong with an input is said when it is read, beside the others."""
    endless = "a" * 300
    assert planned(endless, "b.jpg", to="out") == {endless: f"out/{endless}.png", "b.jpg": "out/b.png"}


def test_reading_in_batches_outlives_bad_photos(desk: Path) -> None:
    Path("broken.jpg").write_bytes(b"not a photo")
    jobs = [Job(Path(name), None) for name in ("gone.jpg", "broken.jpg")] + [Job(None, None)]
    batches = list(read_in_batches(jobs, 2, b"P6 2 1 255 abcdef"))
    assert [len(photos) for photos, _ in batches] == [0, 1]
    assert [failure.job for failure in batches[0][1]] == jobs[:2]
    assert all(isinstance(failure.error, InputError) for failure in batches[0][1])
    job, rgb = batches[1][0][0]
    assert job is jobs[2]
    assert rgb.tolist() == [[list(b"abc"), list(b"def")]]


def test_delivery_makes_folders_and_replaces_whole_files() -> None:
    target = Path("new/sub/a.png")
    deliver(Job(None, target), b"old")
    deliver(Job(None, target), b"new")
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["a.png"]
    deliver(Job(None, None), b"left to the caller")


def test_what_cannot_be_written_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Path("a.png")
    target.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^a\.png: cannot be written: No space left on device$"):
        deliver(Job(None, target), b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in Path().iterdir()] == ["a.png"]


def test_a_target_that_cannot_be_is_an_output_error() -> None:
    touch("file")
    Path("folder").mkdir()
    for target in ("file/a.png", "folder", "a" * 300):
        with pytest.raises(OutputError, match="cannot be written"):
            deliver(Job(None, Path(target)), b"new")
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder"]
    assert not list(Path("folder").iterdir())


def test_the_longest_name_can_be_written() -> None:
    target = Path("a" * 251 + ".png")
    deliver(Job(None, target), b"new")
    assert target.read_bytes() == b"new"


def test_a_link_is_followed_not_replaced() -> None:
    touch("real.png")
    Path("link.png").symlink_to("real.png")
    deliver(Job(None, Path("link.png")), b"new")
    assert Path("link.png").is_symlink()
    assert Path("real.png").read_bytes() == b"new"


def test_a_device_is_written_to_not_replaced() -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        deliver(Job(None, Path("pipe")), b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


def test_one_photo_that_cannot_be_worked_on_does_not_take_its_batch_along() -> None:
    photos = [(Job(Path(f"{n}.png"), None), np.full((2, 2, 3), n, np.uint8)) for n in range(4)]

    def work(together: list[np.ndarray]) -> list[int]:
        if any(photo[0, 0, 0] == 2 for photo in together):
            raise InputError("not finite")
        return [int(photo.sum()) for photo in together]

    found = list(outlive(photos, work))
    assert [outcome.job.name if isinstance(outcome, Failure) else outcome[2] for outcome in found] == [
        0,
        12,
        "2.png",
        36,
    ]
    assert [str(outcome.error) for outcome in found if isinstance(outcome, Failure)] == ["2.png: not finite"]
    assert list(outlive([], work)) == []

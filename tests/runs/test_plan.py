"""Which photo goes where, settled before the first write."""

import os
from pathlib import Path

import numpy as np
import pytest

from cratecli.errors import NothingMatchedError, UsageError
from cratecli.io.formats.png import encode_mask
from cratecli.runs.inputs import Inputs
from cratecli.runs.plan import plan, plan_one


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
    jobs = plan(Inputs(inputs), to, "mask", to_stdout=to_stdout).jobs
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
    assert plan(Inputs(("-",)), None, "mask", to_stdout=True).jobs[0].name == "standard input"
    with pytest.raises(UsageError, match="only once"):
        planned("-", "-")


def test_several_photos() -> None:
    assert planned("a.jpg", "in/b.png") == {"a.jpg": "a.mask.png", "in/b.png": "b.mask.png"}
    assert planned("a.jpg", "in/b.png", to_stdout=True) == planned("a.jpg", "in/b.png")
    assert planned("a.jpg", "in/b.png", to="out") == {"a.jpg": "out/a.png", "in/b.png": "out/in/b.png"}


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
    touch("three/a.jpg", "three/a.png", "three/a.jpg.png", "three/a.jpg.png.tif", "three/b.jpg")
    assert planned("three", to="out") == {
        "three/a.jpg": "out/a.jpg.png",
        "three/a.png": "out/a.png.png",
        "three/a.jpg.png": "out/a.jpg.png.png",
        "three/a.jpg.png.tif": "out/a.jpg.png.tif.png",
        "three/b.jpg": "out/b.png",
    }
    assert planned("-", "stdin.jpg", "stdin.jpg.jpg", to="out") == {
        "-": "out/stdin.png",
        "stdin.jpg": "out/stdin.jpg.png",
        "stdin.jpg.jpg": "out/stdin.jpg.jpg.png",
    }
    assert planned("in/a.jpg", "in/A.webp") == {
        "in/a.jpg": "a.jpg.mask.png",
        "in/A.webp": "A.webp.mask.png",
    }


def test_an_output_is_not_named_like_a_folder_of_outputs() -> None:
    touch("in/d.jpg", "in/D.png/x.jpg", "in/D.png/x.png/y.jpg", "in/e.jpg")
    jobs = plan(Inputs(("in",), recursive=True), "out", "mask", to_stdout=False).jobs
    assert {str(job.source): str(job.target) for job in jobs} == {
        "in/d.jpg": "out/d.jpg.png",
        "in/D.png/x.jpg": "out/D.png/x.jpg.png",
        "in/D.png/x.png/y.jpg": "out/D.png/x.png/y.png",
        "in/e.jpg": "out/e.png",
    }
    touch("more/f.jpg", "more/f.png/x.jpg")
    assert planned("more/f.jpg", "more/f.png", to="out") == {
        "more/f.jpg": "out/f.jpg.png",
        "more/f.png/x.jpg": "out/f.png/x.png",
    }


@pytest.mark.skipif(os.path.normcase("A") == "a", reason="names differ by more than case here")
def test_names_that_differ_by_case_alone_are_two() -> None:
    touch("in/a.jpg", "in/A.jpg")
    assert planned("in", to="out") == {"in/a.jpg": "out/a.jpg.png", "in/A.jpg": "out/A.jpg.png"}


@pytest.mark.parametrize(
    ("inputs", "to"),
    [
        (["one/a.jpg", "two/a.jpg"], None),
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
    with pytest.raises(UsageError, match=r"^m\.JPG: PNG is written"):
        planned("a.jpg", to="m.JPG")
    for inputs in (("a.jpg", "b.jpg"), (".",)):
        with pytest.raises(UsageError, match=r"^m\.png is one picture, and there are several: give a folder"):
            planned(*inputs, to="m.png")
    assert planned("a.jpg", to="m") == {"a.jpg": "m"}


@pytest.mark.parametrize("url", ["ftp://example.org/a.jpg", "file:///photos/a.jpg"])
def test_urls_are_told_from_missing_files(url: str) -> None:
    for named in (Inputs, lambda names: Inputs((), names)):
        with pytest.raises(UsageError, match=f"{url}: .*:// is not read; known are http://"):
            named((url,))
    for to, reason in ((url, "is not written; known are s3://"), ("https://example.org/", "takes no files")):
        with pytest.raises(UsageError, match=reason):
            planned("a.jpg", to=to)


def test_a_folder_may_be_named_like_a_url() -> None:
    touch("odd:/a.jpg")
    assert planned("odd://a.jpg", to="out/") == {"odd:/a.jpg": "out/a.png"}


def test_an_output_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="a path is empty"):
        planned("a.jpg", to="")


def test_a_photo_listed_twice_is_done_once() -> None:
    jobs = plan(Inputs((), ("in/a.jpg", "b.jpg", "./in/a.jpg")), "out", "mask", to_stdout=False).jobs
    assert [str(job.target) for job in jobs] == ["out/in/a.png", "out/b.png"]


def test_a_photo_named_twice_is_done_once() -> None:
    """Whatever it is called, by itself or with its folder; a link to a photo is a photo of its own."""
    touch("in/a.jpg", "in/b.jpg")
    Path("again").symlink_to("in")
    Path("c.jpg").symlink_to("in/a.jpg")
    for other in ("in/a.jpg", "./in/a.jpg", "in/../in/a.jpg", str(Path("in/a.jpg").resolve()), "again/a.jpg"):
        assert planned("in/a.jpg", other, to="out") == {"in/a.jpg": "out/a.png"}
    assert planned("in", "./in", "again", to="out") == {
        "in/a.jpg": "out/in/a.png",
        "in/b.jpg": "out/in/b.png",
    }
    assert planned("in/b.jpg", "in", to="out") == planned("in", "in/b.jpg", to="out")
    assert planned("in/a.jpg", "c.jpg", to="out") == {"in/a.jpg": "out/in/a.png", "c.jpg": "out/c.png"}


def test_a_file_is_no_folder_for_outputs() -> None:
    touch("in/a.jpg", "in/b.jpg", "file")
    for inputs, to in ((["in"], "file"), (["in/a.jpg", "in/b.jpg"], "file"), (["in/a.jpg"], "file/")):
        with pytest.raises(UsageError, match=r"^file is a file: several photos"):
            planned(*inputs, to=to)
    assert planned("in/a.jpg", to="file") == {"in/a.jpg": "file"}


def test_nothing_matched() -> None:
    touch("in/notes.txt", "more/.hidden.jpg")
    with pytest.raises(NothingMatchedError, match="no photo in in, more"):
        planned("in", "more")


def test_a_name_that_cannot_be_is_left_for_reading() -> None:
    """What is wrong with an input is said when it is read, beside the others."""
    endless = "a" * 300
    assert planned(endless, "b.jpg", to="out") == {endless: f"out/{endless}.png", "b.jpg": "out/b.png"}


def one(
    *inputs: str, to: str | None = None, to_stdout: bool = False, ending: str = "png"
) -> tuple[list[str], str | None]:
    """Give the plan of one output for all, as names: the inputs, the output."""
    planned = plan_one(Inputs(inputs), to, "heads", to_stdout=to_stdout, ending=ending)
    assert all(job.target is None for job in planned.jobs)
    names = ["-" if job.source is None else str(job.source) for job in planned.jobs]
    return names, None if planned.target is None else str(planned.target)


def test_one_output_of_one_photo() -> None:
    touch("in/photo.jpg", "out/x")
    assert one("in/photo.jpg") == (["in/photo.jpg"], "photo.heads.png")
    assert one("in/photo.jpg", ending="json")[1] == "photo.heads.json"
    assert one("in/photo.jpg", to_stdout=True)[1] is None
    assert one("in/photo.jpg", to="new/a.PNG", to_stdout=True)[1] == "new/a.PNG"
    assert one("in/photo.jpg", to="out")[1] == "out/photo.heads.png"
    assert one("in/photo.jpg", to="new/")[1] == "new/photo.heads.png"
    assert one("-") == (["-"], "stdin.heads.png")
    assert one("-", to_stdout=True) == (["-"], None)


def test_one_output_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/b.JPG", "in/a.png", "in/notes.txt", "in/.hidden.png", "in/sub/c.png")
    assert one("in") == (["in/a.png", "in/b.JPG"], "in-heads.png")
    assert one("in/", to_stdout=True) == (["in/a.png", "in/b.JPG"], None)
    assert one("in", to="out/")[1] == "out/in-heads.png"
    assert one("in", to="all.json", ending="json")[1] == "all.json"
    monkeypatch.chdir("in/sub")
    assert one("..", to="x.png") == (["../a.png", "../b.JPG"], "x.png")
    assert one("..")[1] == "in-heads.png"


def test_one_output_of_several_keeps_their_order() -> None:
    touch("in/b.png", "in/a.png", "c.png")
    assert one("c.png", "in", "-", "a.jpg") == (["c.png", "in/a.png", "in/b.png", "-", "a.jpg"], "heads.png")
    assert one("c.png", "in", to_stdout=True)[1] is None
    assert one("c.png", "in", to="in/")[1] == "in/heads.png"
    assert one("in/a.png", "in/b.png", "./in/a.png", "in")[0] == ["in/a.png", "in/b.png"]


def test_one_output_that_is_an_input_is_refused() -> None:
    touch("in/a.png", "in/b.png", "photo.heads.png", "photo.jpg")
    Path("link.png").symlink_to("in/a.png")
    for inputs, to in ((["in"], "in/a.png"), (["in/a.png"], "link.png"), (["photo.jpg", "in"], "in/a.png")):
        with pytest.raises(UsageError, match="is an input: choose another output"):
            one(*inputs, to=to)
    with pytest.raises(UsageError, match=r"^photo\.heads\.png is an input: choose another output$"):
        one("photo.heads.png", to="./photo.heads.png")


@pytest.mark.parametrize(
    ("to", "ending", "reason"),
    [
        ("a.jpg", "png", r"^a\.jpg: PNG is written: let the name end with \.png$"),
        ("a", "png", r"^a: PNG is written"),
        (".png", "png", r"^\.png: PNG is written"),
        ("a.png", "json", r"^a\.png: JSON is written: let the name end with \.json$"),
        ("", "png", "a path is empty"),
    ],
)
def test_one_output_says_what_it_is(to: str, ending: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        one("photo.jpg", to=to, ending=ending)


def test_one_output_refuses_what_plan_refuses() -> None:
    touch("in/notes.txt")
    with pytest.raises(UsageError, match="only once"):
        one("-", "-")
    with pytest.raises(UsageError, match="is not read"):
        one("ftp://example.org/a.jpg")
    with pytest.raises(UsageError, match="a path is empty"):
        one("a.png", "")
    with pytest.raises(NothingMatchedError, match="no photo in in"):
        one("in")


def test_one_output_of_the_folder_one_stands_in_can_be_made_again() -> None:
    touch("a.png", "b.png")
    _, target = one(".")
    assert target is not None
    Path(target).write_bytes(encode_mask(np.eye(8, dtype=bool), "{}"))
    assert one(".") == (["a.png", "b.png"], target)
    assert one(".", to=target) == (["a.png", "b.png"], target)
    with pytest.raises(UsageError, match="is an input: choose another output"):
        one(".", to="b.png")

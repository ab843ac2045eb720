"""The tool meets its own outputs: what it made is no photo, and what was made of photos that are gone goes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cratecli.io.formats.png import encode_mask
from tests.cli.conftest import Here, Machine, outputs
from tests.support.runs import read_rows

FAST = ("--size", "32", "--heads", "agree", "--refine", "none")
PASSED = "crate: passed over, as crate made it: {}; name a file to have it read"


@pytest.fixture
def photos(machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with three photos, one of them below."""
    del here  # which goes to the desk
    for seed, name in enumerate(("a.jpg", "b.png", "sub/c.jpg")):
        machine.photo(f"in/{name}", seed=seed)
    monkeypatch.chdir(machine.desk / "in")
    return machine.desk / "in"


def planned(here: Here, *arguments: str) -> tuple[list[str], list[str]]:
    """Give the photos that a run would read, and what it says beforehand."""
    done = here(*arguments, "--dry-run")
    assert done.code == 0
    return sorted(line.split("\t")[0] for line in done.lines), done.err.splitlines()


def test_what_crate_made_is_no_photo(photos: Path, here: Here) -> None:
    """Runs' folders below the photos, and pictures beside them; `-r` finds the photos alone."""
    assert here("segment", ".", "-q", *FAST).code == 0
    assert here("segment", "a.jpg", "-o", "a.mask.png", "-q", *FAST).code == 0
    for ending in ("jpg", "webp"):
        shown = ("--background", "white", "-o", f"cut.{ending}")
        assert here("segment", "a.jpg", *shown, "-q", *FAST).code == 0
    assert here("heads", ".", "-o", "heads.png", "-q", "--size", "32").code == 0
    assert here("parts", ".", "--k", "2", "-o", "some/parts", "-q", "--size", "32").code == 0
    assert here("export", "in-masks", "--as", "labels", "-o", "labels", "-q").code == 0
    assert here("export", "in-masks", "--as", "overlay", "-o", "shown", "-q").code == 0
    assert here("explain", "shown/a.png").lines == ["crate export in-masks --as overlay --output shown"]
    found, said = planned(here, "segment", ".", "-r", "-o", "again")
    assert found == ["a.jpg", "b.png", "sub/c.jpg"]
    assert said == [PASSED.format("a.mask.png, cut.jpg, cut.webp and 7 more")]
    for command in ("objects", "layers", "heads", "parts"):
        assert planned(here, command, ".", "-o", "there/")[0] == ["a.jpg", "b.png"]
    again = here("segment", ".", "-r", "-o", "again", "-q", *FAST)
    assert (again.code, again.err) == (0, "")
    assert outputs(photos / "again") == ["a.png", "b.png", "sub/c.png"]


def test_what_is_named_is_read(photos: Path, here: Here) -> None:
    """A run's own folder, as of cut-outs whose parts are asked for, and a picture alone."""
    assert here("segment", ".", "--as", "cutout", "-o", "cut", "-q", *FAST).code == 0
    assert planned(here, "parts", "cut", "-o", "there") == (["cut/a.png", "cut/b.png"], [])
    assert planned(here, "segment", "cut/a.png", "-o", "x.png") == (["cut/a.png"], [])
    Path("list").write_text("cut/a.png\n")
    assert planned(here, "segment", "--files-from", "list", "-o", "x") == (["cut/a.png"], [])
    (photos / "only").mkdir()
    (photos / "only/a.png").write_bytes((photos / "cut/a.png").read_bytes())
    done = here("segment", "only", *FAST)
    told = "crate: no photo in only but what crate made; name files to have them read\n"
    assert (done.code, done.err) == (3, told)


def test_outputs_beside_their_photos(photos: Path, here: Here) -> None:
    """A folder that holds a manifest and photos is no run's: its photos stay."""
    assert here("segment", "a.jpg", "sub/c.jpg", "-o", "./", "-q", *FAST).code == 0
    assert (photos / "manifest.jsonl").exists()
    assert planned(here, "segment", "../in", "-o", "../out") == (
        ["../in/a.jpg", "../in/b.png"],
        [PASSED.format("../in/a.png")],
    )
    assert planned(here, "segment", "..", "-r", "-o", "../out")[0] == [
        "../in/a.jpg",
        "../in/b.png",
        "../in/sub/c.jpg",
    ]


def test_an_edited_output_beside_its_photo_is_no_photo(photos: Path, here: Here) -> None:
    """The program that edited it dropped what tells that crate made it; the manifest knows it still."""
    del photos
    run = ("segment", "a.jpg", "sub/c.jpg", "-o", "./", *FAST)
    assert here(*run, "-q").code == 0
    drawn(Path("a.png"))
    mine = drawn(Path("sub/c.png"))
    assert planned(here, "segment", ".", "-r", "-o", "out") == (
        ["a.jpg", "b.png", "sub/c.jpg"],
        [PASSED.format("a.png, sub/c.png")],
    )
    assert here(*run).lines == []
    assert Path("sub/c.png").read_bytes() == mine


def test_somebody_elses_manifest_hides_no_photo(photos: Path, here: Here) -> None:
    for content in (b'{"audio": "x.wav"}\n', b"", b"no JSON", b'{"input": "../x.jpg"}\n', b'{"input": "'):
        (photos / "sub/manifest.jsonl").write_bytes(content)
        assert planned(here, "segment", ".", "-r", "-o", "out")[0] == ["a.jpg", "b.png", "sub/c.jpg"]


def test_a_sheet_takes_the_place_of_the_last(photos: Path, here: Here) -> None:
    for _ in range(2):
        done = here("heads", ".", "-o", "sheet.png", "-q", "--size", "32")
        assert (done.code, done.err, done.lines) == (0, "", ["sheet.png"])
    (photos / "mine.png").write_bytes(encode_mask(np.eye(40, dtype=bool)))
    done = here("heads", ".", "-o", "mine.png", "-q", "--size", "32")
    assert (done.code, done.err) == (2, "crate: mine.png is an input: choose another output\n")


def test_a_folder_of_folders_says_so(photos: Path, here: Here) -> None:
    for name in ("a.jpg", "b.png"):
        (photos / name).unlink()
    done = here("segment", ".", *FAST)
    assert (done.code, done.err) == (3, "crate: no photo in .; -r searches the folders in it too\n")
    (photos / "sub/c.jpg").unlink()
    assert here("segment", ".", "-r", *FAST).err == "crate: no photo in .\n"


@pytest.mark.parametrize("command", ["segment", "objects", "parts"])
def test_photos_that_are_gone(machine: Machine, here: Here, command: str) -> None:
    """They are named; to prune, their rows and outputs go, but for those that were changed since."""
    for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg", "sub/e.jpg", "sub/f.jpg")):
        machine.photo(f"in/{name}", seed=seed)
    more = ("--k", "2") if command == "parts" else ()
    run = (command, "in", "-r", "-o", "out", "--size", "32", *more)
    assert here(*run, "-q").code == 0
    tree = "out/labels" if command == "parts" else "out"
    for name in ("c.jpg", "d.jpg", "sub/e.jpg"):
        (machine.desk / "in" / name).unlink()
    before = [name for name in machine.files() if name.startswith("out/")]
    done = here(*run)
    said = "crate: no longer there: in/c.jpg, in/d.jpg, in/sub/e.jpg; --prune removes what was made of them"
    assert (done.code, done.err.count(said)) == (0, 1)
    assert [name for name in machine.files() if name.startswith("out/")] == before
    assert len(list(read_rows(machine.desk / "out"))) == 6
    (machine.desk / tree / "d.png").write_bytes(b"drawn by hand")
    beside = tree.replace("labels", "overlays")
    if command == "parts":
        mark(machine.desk / beside / "c.png")
    done = here(*run, "--prune")
    assert done.code == 0
    said = "crate: no longer there, and what was made of them removed: in/c.jpg, in/d.jpg, in/sub/e.jpg"
    changed = [f"{beside}/c.png"] * (command == "parts") + [f"{tree}/d.png"]
    kept = [f"crate: {name}: was changed since it was made, and is kept" for name in changed]
    assert [line for line in done.err.splitlines() if "no longer" in line or "kept" in line] == [said, *kept]
    pictures = {Path(name).name for name in machine.files() if name.startswith(f"{tree}/")}
    assert pictures - {"parts.json", "sheet.png"} == {"a.png", "b.png", "d.png", "f.png"}
    overlays = {Path(name).name for name in machine.files() if "overlays" in name}
    assert overlays == ({"a.png", "b.png", "c.png", "f.png"} if command == "parts" else set())
    rows = {row.input for row in read_rows(machine.desk / "out")}
    assert rows == {"../in/a.jpg", "../in/b.jpg", "../in/sub/f.jpg"}
    assert "no longer" not in here(*run, "--prune").err


def mark(path: Path) -> None:
    """Draw on a picture, and leave what it says of how it was made."""
    with Image.open(path) as picture:
        text = PngInfo()
        text.add_text("crate", picture.info["crate"])
        picture.putpixel((0, 0), (255, 0, 0))
        picture.save(path, pnginfo=text)


def tree_of(machine: Machine, *names: str) -> None:
    for seed, name in enumerate(names):
        machine.photo(name, seed=seed)


def masks_left(machine: Machine) -> set[str]:
    """Name the masks that are there; each has its row."""
    found = {
        path.relative_to(machine.desk / "out").as_posix() for path in (machine.desk / "out").glob("**/*.png")
    }
    assert found == {row.output for row in read_rows(machine.desk / "out")}
    return found


@pytest.mark.parametrize("way", ["out", "deep/out"])
def test_links_on_the_way_to_outputs_hide_no_photo(machine: Machine, here: Here, way: str) -> None:
    """A run knows its photos, prunes and exports whatever links lead to its folder, and from whichever it is seen."""
    tree_of(machine, "in/a.jpg", "in/b.jpg")
    (machine.desk / "disk/far/out").mkdir(parents=True)
    (machine.desk / "out").symlink_to("disk/far/out")
    (machine.desk / "deep").symlink_to("disk/far")
    (machine.desk / "same").symlink_to("in")
    assert here("segment", "in", "-o", way, "-q", *FAST).code == 0
    rows = {row.input for row in read_rows(machine.desk / way)}
    assert rows == {"../../../in/a.jpg", "../../../in/b.jpg"}
    for place in (way, "disk/far/out", machine.desk / "out"):
        for folder in ("in", "same"):
            done = here("segment", folder, "-o", place, *FAST, "--include", "a*", "--prune", "--resume")
            assert (done.code, "there" in done.err, done.lines) == (0, False, [])
            assert "1 photo was done before" in done.err
    assert masks_left(machine) == {"a.png", "b.png"}
    assert here("explain", f"{way}/a.png").out == here("explain", "disk/far/out/a.png").out.replace(
        b"disk/far/out", way.encode()
    )
    done = here("export", way, "--as", "yolo", "-o", "set", "--prune")
    assert (done.code, "there" in done.err) == (0, False)
    (machine.desk / "in/b.jpg").unlink()
    done = here("segment", "in", "-o", way, *FAST, "--prune", "--resume")
    assert "no longer there, and what was made of them removed: in/b.jpg" in done.err
    assert masks_left(machine) == {"a.png"}


@pytest.mark.parametrize("what", ["empty", "missing", "another"])
def test_a_disk_that_is_away_is_not_pruned(machine: Machine, here: Here, what: str) -> None:
    """Its folder may be empty, missing, or full of another disk's photos; in a rehearsal and an export too."""
    tree_of(machine, "in/a.jpg", "in/usb/b.jpg", "in/usb/c.jpg")
    run = ("segment", "in", "-r", "-o", "out", *FAST)
    assert here(*run, "-q").code == 0
    (machine.desk / "in/usb").rename(machine.desk / "disk")
    if what != "missing":
        (machine.desk / "in/usb").mkdir()
    if what == "another":
        machine.photo("in/usb/x.jpg")
    away = "not there, nor is another photo of their folders, so a disk may be away"
    said = f"crate: {away}: in/usb/b.jpg, in/usb/c.jpg; their outputs stay"
    for more in ("--dry-run", "--resume"):
        done = here(*run, "--prune", more)
        assert (done.code, done.err.count(said), "removed" in done.err) == (0, 1, False)
    new = {"usb/x.png"} if what == "another" else set()
    assert masks_left(machine) == {"a.png", "usb/b.png", "usb/c.png"} | new
    done = here("export", "out", "--as", "coco", "-o", "all.json", "--prune", "--jsonl")
    if not new:
        assert f"crate: {away}: exported all the same: in/usb/b.jpg, in/usb/c.jpg" in done.err
        assert (done.code, len(done.lines)) == (0, 3)


def test_one_output_that_cannot_be_removed(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and stays with its row for the next time; the run goes on."""
    tree_of(machine, "in/a.jpg", "in/b.jpg", "in/x/c.jpg", "in/x/d.jpg")
    run = ("segment", "in", "-r", "-o", "out", "--prune", *FAST)
    assert here(*run, "-q").code == 0
    for name in ("b.jpg", "x/c.jpg"):
        (machine.desk / "in" / name).unlink()

    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "c.png":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        done = here(*run, "--resume")
    assert (done.code, done.err.count("out/x/c.png: cannot be removed: Permission denied, and is kept")) == (
        0,
        1,
    )
    assert "what was made of them removed: in/b.jpg, in/x/c.jpg\n" in done.err
    assert masks_left(machine) == {"a.png", "x/c.png", "x/d.png"}
    assert here(*run, "-q", "--resume").code == 0
    assert masks_left(machine) == {"a.png", "x/d.png"}


def test_pruning_from_the_root_of_all_folders(
    machine: Machine, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`..` cannot go above it, and what lies beside a folder does not lie below it there."""
    tree_of(machine, "a/in/y.jpg", "in/x.jpg", "in/z.jpg")
    run = ("-o", str(machine.desk / "a/out/"), *FAST, "--exists", "overwrite")
    assert here("segment", str(machine.desk / "a/in"), str(machine.desk / "in"), *run).code == 0
    (machine.desk / "in/x.jpg").unlink()
    before = sorted(row.input for row in read_rows(machine.desk / "a/out"))
    assert before == ["../../in/x.jpg", "../../in/z.jpg", "../in/y.jpg"]
    monkeypatch.chdir("/")
    done = here("segment", str(machine.desk / "a/in"), *run, "--prune")
    assert (done.code, "there" in done.err) == (0, False)
    assert "a/out/in/x.png" in machine.files()


def drawn(path: Path) -> bytes:
    """Draw a mask over an output, as a labeller does; gives its bytes."""
    with Image.open(path) as mask:
        shape = mask.size[::-1]
    levels = np.zeros(shape, np.uint8)
    levels[: shape[0] // 2] = 255
    Image.fromarray(levels).save(path)
    return path.read_bytes()


KEPT = (
    "crate: changed since they were made, and kept: out/a.png; delete them, or give --exists overwrite, "
    "to have them made again"
)


@pytest.mark.parametrize("command", ["segment", "objects"])
def test_masks_that_were_corrected_by_hand_stay(machine: Machine, here: Here, command: str) -> None:
    """In a run that is taken up, one that begins anew and one with other options; until they are told to go."""
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        machine.photo(f"in/{name}", seed=seed)
    run = (command, "in", "-o", "out", "--size", "32")
    assert here(*run, "-q").code == 0
    out = machine.desk / "out/a.png"
    mine = drawn(out)
    before = {row.output: row for row in read_rows(machine.desk / "out")}
    for more in (("--resume",), (), ("--refine", "none")):
        done = here(*run, *more)
        assert (done.code, done.err.splitlines().count(KEPT)) == (0, 1)
        assert done.lines == ([] if "--resume" in more else ["out/b.png"])
        assert out.read_bytes() == mine
        assert {row.output: row for row in read_rows(machine.desk / "out")}["a.png"] == before["a.png"]
    out.unlink()
    assert here(*run).lines == ["out/a.png", "out/b.png"]
    drawn(out)
    done = here(*run, "--exists", "overwrite")
    assert (done.lines, "kept" in done.err) == (["out/a.png", "out/b.png"], False)
    done = here(*run, "--resume")
    assert (done.lines, done.err.splitlines()[-1]) == ([], "crate: 2 photos were done before")


def test_parts_that_were_corrected_by_hand_stay(machine: Machine, here: Here) -> None:
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        machine.photo(f"in/{name}", seed=seed)
    run = ("parts", "in", "-o", "out", "--size", "32", "--k", "2")
    assert here(*run, "-q").code == 0
    mine = drawn(machine.desk / "out/labels/a.png")
    kept = (
        "crate: changed since they were made, and kept: out/labels/a.png, which parts.json leaves out; "
        "delete them to have them made again"
    )
    done = here(*run)
    assert (done.code, done.err.splitlines().count(kept)) == (0, 1)
    assert (machine.desk / "out/labels/a.png").read_bytes() == mine


def test_a_rehearsal_names_what_would_be_removed(machine: Machine, here: Here) -> None:
    for seed, name in enumerate("abc"):
        machine.photo(f"in/{name}.jpg", seed=seed)
    run = ("segment", "in", "-o", "out", *FAST)
    assert here(*run, "-q").code == 0
    for name in "bc":
        (machine.desk / f"in/{name}.jpg").unlink()
    drawn(machine.desk / "out/c.png")
    before = machine.files()
    done = here(*run, "--prune", "--resume", "--dry-run")
    assert (done.code, done.lines) == (0, ["in/a.jpg\tout/a.png"])
    assert done.err.splitlines() == [
        "crate: --resume: photos that are done are listed too: which they are is known once they are read",
        "crate: no longer there: in/b.jpg, in/c.jpg",
        "crate: would be removed: out/b.png",
        "crate: would be kept, as it was changed since it was made: out/c.png",
    ]
    assert machine.files() == before
    assert here("segment", "in", "-o", "new", "--prune", "--dry-run").err == ""
    assert here(*run, "--dry-run").err == "crate: no longer there: in/b.jpg, in/c.jpg\n"


def test_an_emptied_folder_is_not_pruned(machine: Machine, here: Here) -> None:
    machine.photo("in/a.jpg")
    assert here("segment", "in", "-o", "out", "-q", *FAST).code == 0
    (machine.desk / "in/a.jpg").unlink()
    done = here("segment", "in", "-o", "out", "--prune", *FAST)
    said = "crate: no photo in in; so nothing is pruned: the disk may be away, else delete the outputs yourself\n"
    assert (done.code, done.err) == (3, said)
    assert (machine.desk / "out/a.png").exists()


def test_the_same_photos_under_another_ending(machine: Machine, here: Here) -> None:
    """The old files are named where they stay; pruned, a photo is named once, and all that was made of it goes."""
    for seed, name in enumerate("ab"):
        machine.photo(f"in/{name}.jpg", seed=seed)
    run = ("segment", "in", "-o", "out", "--as", "cutout", *FAST)
    assert here(*run, "-q").code == 0
    done = here(*run, "--ending", "webp", "--resume")
    said = "crate: made of the same photos by an earlier run, and left as it was: out/a.png, out/b.png"
    assert (done.code, done.err.splitlines().count(said)) == (0, 1)
    (machine.desk / "in/b.jpg").unlink()
    done = here(*run, "--ending", "webp", "--resume", "--prune")
    gone = "crate: no longer there, and what was made of them removed: in/b.jpg"
    assert [line for line in done.err.splitlines() if "no longer" in line] == [gone]
    assert done.err.endswith("crate: 1 photo was done before\n")
    assert [name for name in machine.files() if name[:4] == "out/"] == ["out/a.png", "out/a.webp"]


def test_what_is_elsewhere_or_left_out_is_not_gone(machine: Machine, here: Here) -> None:
    """Photos of other folders, that are excluded, or in folders below are not asked after."""
    for seed, name in enumerate(("one/a.jpg", "two/b.jpg", "one/c.jpg", "one/sub/d.jpg")):
        machine.photo(name, seed=seed)
    assert here("segment", "one", "two", "-r", "-o", "out", "-q", *FAST).code == 0
    (machine.desk / "two/b.jpg").unlink()
    for named in (("one",), ("one/a.jpg", "one/c.jpg")):
        done = here("segment", *named, "--exclude", "c*", "-o", "out/", "--prune", "--resume", *FAST)
        assert (done.code, "no longer" in done.err) == (0, False)
    assert {"../two/b.jpg", "../one/sub/d.jpg"} <= {row.input for row in read_rows(machine.desk / "out")}


def test_pruning_goes_by_a_manifest(machine: Machine, here: Here) -> None:
    machine.photo("a.jpg")
    done = here("segment", "a.jpg", "-o", "a.png", "--prune", *FAST)
    reason = "--prune goes by the manifest in an output folder: give -o FOLDER"
    assert (done.code, done.err) == (2, f"crate: {reason}\n")


def test_an_export_of_photos_that_are_gone(machine: Machine, here: Here) -> None:
    for seed, name in enumerate("abc"):
        machine.photo(f"in/{name}.jpg", seed=seed)
    stdin = machine.photo("stdin.png").read_bytes()
    assert here("segment", "in", "-", "-o", "out", "-q", *FAST, stdin=stdin).code == 0
    (machine.desk / "in/b.jpg").unlink()
    export = ("export", "out", "--as", "coco", "-o", "all.json", "--jsonl")
    done = here(*export)
    said = "crate: no longer there, exported all the same: in/b.jpg; --prune leaves them out"
    assert (done.code, len(done.lines), done.err.splitlines()[0]) == (0, 4, said)
    done = here(*export, "--prune")
    assert (done.code, len(done.lines)) == (0, 3)
    assert done.err.splitlines()[0] == "crate: no longer there, left out: in/b.jpg"
    assert len(list(read_rows(machine.desk / "out"))) == 4


def test_outputs_of_another_command_are_named_before_they_are_replaced(machine: Machine, here: Here) -> None:
    for name in ("a", "b"):
        machine.photo(f"in/{name}.jpg")
    assert here("segment", "in", "-o", "out", *FAST).code == 0
    said = "crate: of crate segment, and replaced, unless edited: out/a.png, out/b.png"
    objects = ("objects", "in", "-o", "out", "--size", "32", "--refine", "none")
    assert said in here(*objects).err.splitlines()
    assert "replaced" not in here(*objects).err

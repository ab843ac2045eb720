"""The manifest: one row a photo, believed only where it still holds, shared by processes, outliving their end."""

import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from cratecli.errors import InputError, OutputError
from cratecli.io.formats import ArrayEnding, tensors
from cratecli.io.formats.png import encode_mask
from cratecli.runs import manifest
from cratecli.runs.jobs import Job, deliver
from cratecli.runs.ledger import Ledger
from cratecli.runs.provenance import Provenance
from tests.support.ledgers import FOUND, JOBS, do, job, ledger, made, sha
from tests.support.processes import Other
from tests.support.runs import read_rows


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(book: Ledger, jobs: list[Job] = JOBS, *, resume: bool = False, content: str = "photo") -> list[str]:
    with book:
        book.open(jobs, resume=resume)
        return [do(book, each, content) for each in jobs]


def rows() -> dict[str, str]:
    """Read the manifest: output → input's hash; no output has two rows, and nothing but rows is there."""
    found = list(read_rows(Path("out")))
    assert len({row.key for row in found}) == len(found)
    assert len(Path("out/manifest.jsonl").read_bytes().splitlines()) == len(found)
    return {str(row.output): row.input_sha256 for row in found}


def test_a_row_says_what_was_done() -> None:
    assert run(ledger()) == ["made"] * 3
    row = json.loads(Path("out/manifest.jsonl").read_text().splitlines()[2])
    assert {name: row[name] for name in list(row)[:6]} == {
        "input": "../in/sub/c.jpg",
        "input_sha256": sha("photo"),
        "output": "sub/c.png",
        "output_sha256": sha("mask of photo"),
        "beside": {},
        "options": made().digest,
    }
    assert row["made"]["recipe"] == {"keep": "otsu"}
    assert row["made"]["threshold"] == 0.5
    assert (row["height"], row["width"], len(row["objects"])) == (4, 5, 1)
    assert row["objects"][0]["area"] == 4


def test_a_run_is_taken_up() -> None:
    run(ledger(), JOBS[:2])
    assert run(ledger(), resume=True) == ["done", "done", "made"]
    assert list(rows()) == ["a.png", "b.png", "sub/c.png"]


@pytest.mark.parametrize("resume", [True, False])
def test_a_start_reads_each_row_once(monkeypatch: pytest.MonkeyPatch, resume: bool) -> None:
    """A manifest may be long; a row that is kept is read again only where one that is not stood before it."""
    run(ledger())
    read: list[str] = []

    def counted(line: str | bytes) -> manifest.ManifestRow:
        row = from_json(line)
        read.append(row.key)
        return row

    from_json = manifest.ManifestRow.from_json
    monkeypatch.setattr(manifest.ManifestRow, "from_json", counted)
    with ledger() as book:
        book.open(JOBS[:1], resume=resume)
        assert read == ["a.png", "b.png", "sub/c.png"]


def test_without_resume_all_is_made_again() -> None:
    run(ledger())
    assert run(ledger(), JOBS[:2], content="other") == ["made", "made"]
    assert rows() == {"sub/c.png": sha("photo"), "a.png": sha("other"), "b.png": sha("other")}


def test_the_row_is_believed_not_the_file() -> None:
    """FAULTS 12: an output that nobody vouches for is made again."""
    deliver(JOBS[0].target, b"a half of something")
    assert run(ledger(), resume=True) == ["made"] * 3


def test_a_row_that_no_longer_holds_is_made_again() -> None:
    run(ledger())
    Path("out/a.png").unlink()
    Path("out/b.png").write_bytes(b"painted over")
    assert run(ledger(), resume=True) == ["made", "made", "done"]
    assert run(ledger("mean"), resume=True) == ["made"] * 3
    assert run(ledger("mean"), resume=True, content="changed") == ["made"] * 3
    assert run(ledger("mean"), [job("a", "in/a.webp")], resume=True, content="changed") == ["made"]
    assert set(rows().values()) == {sha("changed")}
    assert len(rows()) == 3


def painted() -> bytes:
    return encode_mask(np.ones((4, 5), bool))


@pytest.mark.parametrize("resume", [True, False])
def test_an_output_that_somebody_worked_on_stays(resume: bool) -> None:
    """Whatever the options and the photo are by now; its row stays too. A file cut short is nobody's work."""
    run(ledger())
    Path("out/a.png").write_bytes(painted())
    Path("out/b.png").write_bytes(painted()[:-20])
    before = rows()
    for keep, content in (("otsu", "photo"), ("mean", "changed")):
        with ledger(keep) as book:
            book.open(JOBS, resume=resume)
            again = "done" if resume and keep == "otsu" else "made"
            assert [do(book, each, content) for each in JOBS] == ["done", "made", again]
            assert book.edited == ["a.png"]
        assert Path("out/a.png").read_bytes() == painted()
        assert rows()["a.png"] == before["a.png"]
    with ledger("mean") as book:
        book.open(JOBS, resume=resume, overwrite=True)
        assert do(book, JOBS[0], "changed") == "made"
        assert book.edited == []
    assert rows()["a.png"] == sha("changed")


def test_work_on_another_photos_output_is_not_lost() -> None:
    """The photo fails; one that was only renamed has its output."""
    run(ledger())
    Path("out/a.png").write_bytes(painted())
    assert run(ledger(), [job("a", "in/a.webp")]) == ["done"]
    with pytest.raises(
        InputError, match=r"^in/a\.webp: its output a\.png was made from \.\./in/a\.jpg, and changed"
    ):
        run(ledger(), [job("a", "in/a.webp")], content="other")
    assert Path("out/a.png").read_bytes() == painted()


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_arrays_that_somebody_worked_on_stay(ending: ArrayEnding) -> None:
    place = Job(Path("in/a.jpg"), Path(f"out/a.{ending}"))
    run(ledger(), [place])
    mine = tensors.encode({"mine": np.ones(3)}, ending, None)
    assert place.target
    for content, became in ((mine, "done"), (mine[: len(mine) // 2], "made")):
        place.target.write_bytes(content)
        assert run(ledger(), [place]) == [became]


def test_a_kill_before_an_output_is_replaced_makes_nobodys_work(other: Other) -> None:
    """The row is taken back before: what is new and has no row is made again."""
    run(ledger())
    other("ledger.open(JOBS, resume=False)")
    assert other("ledger.claim(JOBS[0])") == "True"
    assert other("ledger.done(JOBS[0], sha('photo'))") == "False"
    other.kill()
    Path("out/a.png").write_bytes(painted())
    assert run(ledger(), resume=True) == ["made", "done", "done"]


def test_what_was_made_under_other_names_is_known() -> None:
    """Of the same photo by the same command, and still there."""
    run(ledger())
    webp = [Job(each.source, each.target.with_suffix(".webp")) for each in JOBS if each.target]
    Path("out/b.png").unlink()
    with ledger() as book:
        book.open(webp, resume=True)
        assert book.beside == ["a.png", "sub/c.png"]
    with Ledger(Path("out/manifest.jsonl"), Provenance(command="heads")) as book:
        book.open(webp, resume=True)
        assert book.beside == []


def test_a_kill_while_a_row_is_replaced_leaves_no_second_one(other: Other) -> None:
    """FAULTS 12: the old row is taken back before the new one is written."""
    run(ledger())
    other("ledger.open(JOBS, resume=True)")
    assert other("ledger.claim(JOBS[1])") == "True"
    assert other("ledger.done(JOBS[1], sha('changed'))") == "False"
    other.kill()
    assert [row.key for row in read_rows(Path("out"))] == ["a.png", "sub/c.png"]
    assert run(ledger(), resume=True) == ["done", "made", "done"]
    assert list(rows()) == ["a.png", "sub/c.png", "b.png"]


@pytest.mark.parametrize("tail", [b'{"inp', b'{"input": "../in/sub/c.jpg", "input_sha2', b"\0" * 400])
def test_a_last_line_cut_short_is_no_row(tail: bytes) -> None:
    """FAULTS 12: a kill cuts it; a machine that stops leaves zeros."""
    run(ledger(), JOBS[:2])
    with Path("out/manifest.jsonl").open("ab") as stream:
        stream.write(tail)
    assert run(ledger(), resume=True) == ["done", "done", "made"]
    assert len(rows()) == 3


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": 1}\n{"id": 2}\n',
        b'{"id": 1}',
        b"my notes",
        b"\xff\xfe\0\n",
        b"[]\n",
        b'{"input": 1}\n',
        b"[" * 100_000 + b"\n",
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_manifest_of_somebody_else_is_left_alone(content: bytes, resume: bool) -> None:
    manifest = Path("out/manifest.jsonl")
    manifest.parent.mkdir()
    manifest.write_bytes(content)
    with pytest.raises(InputError, match=r"^out/manifest\.jsonl:1: not a row of a manifest") as caught:
        run(ledger(), resume=resume)
    assert len(str(caught.value).splitlines()) == 1
    assert manifest.read_bytes() == content


def test_a_manifest_that_is_a_folder_is_said() -> None:
    Path("out/manifest.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"^out/manifest\.jsonl: cannot be written: Is a directory"):
        run(ledger())


@pytest.mark.parametrize("resume", [True, False])
def test_a_manifest_that_is_a_pipe_is_said(resume: bool) -> None:
    Path("out").mkdir()
    os.mkfifo("out/manifest.jsonl")
    with pytest.raises(OutputError, match=r"manifest\.jsonl: cannot be written: not a regular file"):
        run(ledger(), resume=resume)


def test_an_output_that_became_a_pipe_is_made_again() -> None:
    run(ledger())
    Path("out/a.png").unlink()
    os.mkfifo("out/a.png")
    with ledger() as book:
        book.open(JOBS, resume=True)
        assert not book.done(JOBS[0], sha("photo"))


def test_rows_that_are_there_twice_are_made_one() -> None:
    run(ledger())
    manifest = Path("out/manifest.jsonl")
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:1] + lines[:1] + ["   \n"] + lines))
    assert run(ledger(), resume=True) == ["done"] * 3
    assert len(rows()) == 3


def test_what_killed_processes_left_is_swept() -> None:
    """FAULTS 12: where outputs go, and nowhere else."""
    orphans = [
        Path(f"{folder}/.crate-{'0f' * 16}.part") for folder in ("out", "out/sub", "out/over", "out/x")
    ]
    kept = [Path("out/.crate-notes.part"), Path("out/a.part"), orphans[3]]
    for path in [*orphans, *kept]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with ledger() as book:
        book.open(JOBS, resume=True, also=[Path("out/over")])
    assert [path for path in [*orphans, *kept] if path.exists()] == [orphans[3], *kept]


def test_nothing_is_swept_under_a_process_at_work(other: Other) -> None:
    other("ledger.open(JOBS, resume=False)")
    half = Path(f"out/.crate-{'0f' * 16}.part")
    half.touch()
    run(ledger())
    assert half.exists()


def test_a_photo_is_in_one_hand(other: Other) -> None:
    """FAULTS 13: also within one process, where a photo is named twice."""
    assert other("ledger.open(JOBS, resume=False)") == "False"
    assert other("ledger.claim(JOBS[0])") == "True"
    with ledger() as book:
        assert book.open(JOBS, resume=False)
        assert not book.claim(JOBS[0])
        assert book.claim(JOBS[1])
        assert not book.claim(JOBS[1])
        assert other("ledger.claim(JOBS[1])") == "False"
        book.give_back(JOBS[1])
        assert other("ledger.claim(JOBS[1])") == "True"
        other.kill()
        assert [do(book, each) for each in JOBS] == ["made"] * 3


def test_what_another_process_did_is_done(other: Other) -> None:
    """FAULTS 13: each photo once, without a --resume."""
    other("ledger.open(JOBS, resume=False)")
    other("do(ledger, JOBS[0])")
    with ledger() as book:
        assert book.open(JOBS, resume=False)
        assert other("do(ledger, JOBS[2])") == "made"
        assert [do(book, each) for each in JOBS] == ["done", "made", "done"]
        assert other("do(ledger, JOBS[1])") == "done"
        assert book.row(JOBS[2]) == list(read_rows(Path("out")))[1]
    assert len(rows()) == 3


def test_what_a_run_before_did_is_not_what_another_process_did(other: Other) -> None:
    """Yesterday's rows are believed by --resume alone, whoever else is at work today."""
    run(ledger())
    other("ledger.open([], resume=False)")
    with ledger() as book:
        assert book.open(JOBS, resume=False)
        assert do(book, JOBS[0], "photo") == "made"
        assert other("do(ledger, JOBS[0])") == "done"
    with ledger() as book:
        assert book.open(JOBS, resume=True)
        assert [do(book, each) for each in JOBS] == ["done"] * 3
    assert other("ledger.close()") == "None"
    assert sorted(rows()) == ["a.png", "b.png", "sub/c.png"]


def test_rows_stay_where_they_are_while_anybody_is_at_work(other: Other) -> None:
    run(ledger())
    other("ledger.open(JOBS, resume=True)")
    before = Path("out/manifest.jsonl").stat()
    assert run(ledger("mean"), JOBS[:1], resume=True) == ["made"]
    after = Path("out/manifest.jsonl").stat()
    assert (after.st_ino, after.st_size > before.st_size) == (before.st_ino, True)
    assert other("do(ledger, JOBS[1])") == "done"
    other("ledger.close()")
    assert list(rows()) == ["b.png", "sub/c.png", "a.png"]


def test_two_photos_that_processes_would_write_to_one_place(other: Other) -> None:
    """FAULTS 13: the second is refused, not lost; a later run may replace the first."""
    other("ledger.open(JOBS, resume=False)")
    other("do(ledger, JOBS[0])")
    with ledger() as book:
        book.open(JOBS, resume=False)
        with pytest.raises(
            InputError, match=r"^in/a\.webp: its output a\.png was just made from \.\./in/a\.jpg"
        ):
            do(book, job("a", "in/a.webp"))
    other.kill()
    assert run(ledger(), [job("a", "in/a.webp")]) == ["made"]
    assert len(rows()) == 1


def test_a_disk_that_fills_takes_no_row_back() -> None:
    """FAULTS 11: what was there before survives, and the next row follows it."""
    run(ledger(), JOBS[:1])
    size = Path("out/manifest.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ledger() as book:
        book.open(JOBS, resume=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        try:
            with pytest.raises(
                OutputError, match=r"^out/manifest\.jsonl: cannot be written: File too large$"
            ):
                do(book, JOBS[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list(rows()) == ["a.png"]
        assert do(book, JOBS[2]) == "made"
    assert list(rows()) == ["a.png", "sub/c.png"]
    assert run(ledger(), resume=True) == ["done", "made", "done"]


def test_a_folder_that_goes_away_meanwhile() -> None:
    with ledger() as book:
        book.open(JOBS, resume=False)
        do(book, JOBS[0])
        shutil.rmtree("out")
        assert do(book, JOBS[1]) == "made"
    assert list(rows()) == ["b.png"]


def test_a_manifest_that_others_write_to_is_said() -> None:
    with ledger() as book:
        book.open(JOBS, resume=False)
        do(book, JOBS[0])
        with Path("out/manifest.jsonl").open("a") as stream:
            stream.write("my notes\n")
        with pytest.raises(OutputError, match=r"^out/manifest\.jsonl: is not as it was left"):
            do(book, JOBS[1])


def test_photos_that_share_one_file_are_known_by_their_paths() -> None:
    jobs = [Job(Path("in/a.jpg"), None), Job(None, None)]

    def once(*, resume: bool) -> list[bool]:
        told = []
        with ledger() as book:
            book.open(jobs, resume=resume)
            for each in jobs:
                assert book.claim(each)
                told.append(book.done(each, sha("photo")))
                if not told[-1]:
                    book.record(each, sha("photo"), None, FOUND)
        return told

    assert once(resume=True) == [False, False]
    assert once(resume=True) == [True, True]
    assert once(resume=False) == [False, False]
    assert [row.key for row in read_rows(Path("out"))] == ["../in/a.jpg", "-"]


def test_names_that_are_no_text() -> None:
    """FAULTS 9."""
    odd = [job(os.fsdecode(name)) for name in (b"\xff", b"a\nb", b"\x1b[31m", "ä".encode())]
    assert run(ledger(), odd) == ["made"] * 4
    assert run(ledger(), odd, resume=True) == ["done"] * 4


def test_what_takes_the_place_of_another_photos_output_is_known() -> None:
    """Not of one that is gone: then it was renamed, or is another by now."""
    for name in ("in/a.jpg", "in/b.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    with ledger() as book:
        book.open(JOBS[:2], resume=False)
        assert book.replaced(JOBS[0]) is None
        for each in JOBS[:2]:
            do(book, each)
    Path("in/b.jpg").unlink()
    again = [job("a", "in/a.png"), job("b", "in/b.png")]
    for resume in (True, False):
        with ledger() as book:
            book.open(again, resume=resume)
            assert [book.replaced(each) for each in again] == ["../in/a.jpg", None]

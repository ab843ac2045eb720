"""Sources of many photos in a run: their outputs named as they come, read ahead within bounds, dealt out whole."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratecli.errors import InputError, UsageError
from cratecli.io.sources.entry import Entry, held
from cratecli.io.sources.packed import Packed
from cratecli.runs import streams
from cratecli.runs.inputs import Inputs
from cratecli.runs.jobs import Job
from cratecli.runs.plan import plan, plan_one
from cratecli.runs.streams import Stream, ahead, streamed, streams_of
from tests.support.ledgers import ledger
from tests.support.processes import Other
from tests.support.shards import tar_of
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shard(name: str, *members: str) -> Packed:
    """Put a shard into the working folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_of([(member, member.encode()) for member in members]))
    return Packed(name, "tar")


def jobs_of(stream: Stream) -> list[Job]:
    return list(stream.jobs(1000, lambda _note: None))


def test_outputs_of_a_shard_stay_in_its_folder_and_none_takes_anothers_place() -> None:
    names = ("1.jpg", "1.png", "a/1.jpg", "A/1.JPG", "../2.jpg", "/3.jpg", "1.jpg", "1.jpg")
    (stream,) = streams_of([shard("a.tar", *names)], Path("out"))
    jobs = jobs_of(stream)
    targets = [None if job.target is None else job.target.as_posix() for job in jobs]
    made = ["out/a/1.png", "out/a/1.png.png", "out/a/a/1.png", "out/a/A/1.JPG.png"]
    assert targets == [*made, None, None, "out/a/1.jpg.png", None]
    assert [job.name for job in jobs] == [f"a.tar::{name}" for name in names]
    assert [job.number for job in jobs] == list(range(8))
    with pytest.raises(InputError, match="another photo of this name came before"):
        assert jobs[-1].entry
        jobs[-1].entry.read(1000)


def test_a_shard_that_ends_early_is_a_photo_that_fails() -> None:
    packed = shard("a.tar", "1.jpg", "2.jpg")
    Path("a.tar").write_bytes(Path("a.tar").read_bytes()[:1024])
    first, last = jobs_of(streams_of([packed], Path("out"))[0])
    assert (first.target, last.target, last.name) == (Path("out/a/1.png"), None, "a.tar")
    with pytest.raises(InputError, match=r"a.tar: a broken archive, after 1 photo: it is cut short"):
        assert last.entry
        last.entry.read(1000)
    (missing,) = jobs_of(streams_of([Packed("no.tar", "tar")], Path("out"))[0])
    with pytest.raises(InputError, match=r"no.tar: No such file"):
        assert missing.entry
        missing.entry.read(1000)


def test_shards_have_a_folder_each() -> None:
    sources = ["x/1.tar", "x/1.tar", "y/1.tar", "x/2.parquet", "x/2.tar", "s3://b/p/3.tar", "s3://b/q/4.tar"]
    packed = [Packed(each, "tar") for each in sources]
    folders = [stream.folder.as_posix() for stream in streams_of(packed, Path("out")) if stream.folder]
    assert folders == [f"out/{each}" for each in ("x/1", "y/1", "x/2.parquet", "x/2.tar", "p/3", "q/4")]


def test_a_plan_knows_shards_from_photos() -> None:
    for name in ("s/0.tar", "s/1.tar", "t/x.tar"):
        shard(name, "1.jpg")
    Path("photo.jpg").write_bytes(b"")
    both = plan(Inputs(("s/{0..1}.tar", "photo.jpg")), "out", "mask", to_stdout=False)
    assert [job.target for job in both.jobs] == [Path("out/photo.png")]
    assert [stream.folder for stream in both.streams] == [Path("out/0"), Path("out/1")]
    assert both.total is None
    (only,) = plan(Inputs(("s",)), None, "mask", to_stdout=True).streams[:1]
    assert only.folder == Path("s-masks/0")
    one = plan(Inputs(("t/x.tar",)), None, "mask", to_stdout=True)
    assert (one.place, one.streams[0].folder) == (Path("x-masks"), Path("x-masks/x"))
    listed = plan(Inputs((), ("photo.jpg", "t/x.tar")), "out", "mask", to_stdout=False)
    assert ([job.name for job in listed.jobs], [each.name for each in listed.streams]) == (
        ["photo.jpg"],
        ["t/x.tar"],
    )
    rows = plan_one(Inputs(("s",)), "out/", "masks", to_stdout=False, ending="parquet")
    assert [each.whole for each in rows.streams] == [Path("out/0.parquet"), Path("out/1.parquet")]
    assert rows.manifest == Path("out/manifest.jsonl")
    with pytest.raises(UsageError, match=r"t/x.tar is an input"):
        plan_one(Inputs(("t/x.tar",)), "t/x.tar", "masks", to_stdout=False, ending="tar")


def test_urls_have_their_places_in_the_tree() -> None:
    urls = ("memory://b/x/1.jpg", "memory://b/y/1.jpg", "memory://b/y/1.jpg")
    planned = plan(Inputs(urls), "out", "mask", to_stdout=False)
    assert [job.target for job in planned.jobs] == [Path("out/x/1.png"), Path("out/y/1.png")]
    stored = plan(Inputs(urls[:1]), "memory://c/masks/", "mask", to_stdout=False)
    assert [job.output for job in stored.jobs] == ["memory://c/masks/1.png"]
    assert stored.manifest == Path("c-masks.manifest.jsonl")
    single = plan(Inputs(("https://host/a%20b.jpg?key=1",)), None, "mask", to_stdout=False)
    assert [(job.name, job.target) for job in single.jobs] == [
        ("https://host/a%20b.jpg", Path("a b.mask.png"))
    ]
    for signed in ("https://host/1.jpg?key=1", "https://host/1.jpg?key=2"):
        assert plan(Inputs((signed,)), "out/", "mask", to_stdout=False)
    with pytest.raises(UsageError, match="would both be written to"):
        plan(Inputs(("https://host/1.jpg?k=1", "https://host/1.jpg?k=2")), "out/", "mask", to_stdout=False)


def entries(count: int, nbytes: int, made: list[int]) -> Iterator[Job]:
    for number in range(count):
        made.append(number)
        yield Job(None, None, number, entry=Entry(str(number), str(number), held(b""), nbytes=nbytes))


@pytest.mark.parametrize(("nbytes", "most"), [(1, streams.AHEAD), (streams.HELD // 4, 4)])
def test_no_more_is_read_ahead_than_fits(nbytes: int, most: int) -> None:
    made: list[int] = []
    jobs = ahead(entries(300, nbytes, made), lambda: False)
    for taken in range(300):
        assert next(jobs).number == taken
        assert len(made) <= taken + 1 + most + 1  # one more waits for a place
    assert list(jobs) == []
    assert not [each for each in threading.enumerate() if each.name == "crate-stream"]


def test_a_stream_that_waits_for_the_network_does_not_hold_up_a_run_that_stops() -> None:
    network, stopping = threading.Event(), threading.Event()

    def stalled() -> Iterator[Job]:
        yield Job(None, None)
        stopping.set()
        network.wait()

    assert len(list(ahead(stalled(), stopping.is_set))) <= 1
    network.set()
    until(lambda: not [each for each in threading.enumerate() if each.name == "crate-stream"])


def test_what_ends_the_reading_ends_the_run() -> None:
    def broken() -> Iterator[Job]:
        yield Job(None, None)
        raise UsageError("no more")

    jobs = ahead(broken(), lambda: False)
    assert next(jobs) == Job(None, None)
    with pytest.raises(UsageError, match="no more"):
        next(jobs)


def test_processes_deal_out_whole_shards(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.01)
    shards = streams_of([shard("0.tar", "a.jpg"), shard("1.tar", "b.jpg")], Path("out"))
    with ledger() as book:
        book.open([], resume=False)
        assert other("ledger.open([], resume=False)") == "True"
        assert other("ledger.claim_whole('0.tar')") == "True"
        jobs = streamed(shards, book, 1000, lambda _note: None, lambda: False)
        assert next(jobs).name == "1.tar::b.jpg"
        assert other("ledger.claim_whole('1.tar')") == "False"
        other("ledger.give_back_whole('0.tar')")
        assert [job.name for job in jobs] == ["0.tar::a.jpg"]
        assert other("ledger.claim_whole('1.tar')") == "True"

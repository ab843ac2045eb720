"""The engine: photos grouped, decoded ahead within bounds, told in order; and what goes wrong, on its own."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cratecli.arrays import RGB
from cratecli.emergence.features import View
from cratecli.errors import InputError, OutputError
from cratecli.io import images
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.unroll import LayerState
from cratecli.runs import batch
from cratecli.runs.batch import work_through
from cratecli.runs.desk import DecodedPhoto, Desk
from cratecli.runs.jobs import Failure, Job, Skipped
from cratecli.runs.ledger import Ledger
from cratecli.runs.limits import MemoryBudget
from cratecli.runs.views import Question
from tests.support.ledgers import made
from tests.support.processes import Other

QUESTION = Question((1,), (16,))
SIZES = [(16, 24), (24, 16), (16, 16)]  # width, height in px: three grids


class Counting(Crate):
    """A CRATE that remembers how many images of which size it was shown at once."""

    def __init__(self) -> None:
        super().__init__(CrateConfig(patch_size=4, width=12, heads=3, depth=2, image_size=16, classes=0))
        self.fold()
        self.shown: list[tuple[int, int, int]] = []

    def unroll(self, images: Tensor, kept: Tensor | None = None) -> Iterator[LayerState]:
        self.shown.append((images.shape[0], *images.shape[2:]))
        return super().unroll(images, kept)


class Model(Counting):
    """One that has memory for only so many images at once, and says so in the words of `error`."""

    holds = 10**9
    error: Exception = MemoryError()

    def unroll(self, images: Tensor, kept: Tensor | None = None) -> Iterator[LayerState]:
        states = super().unroll(images, kept)
        if len(images) > self.holds:
            raise self.error
        return states


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder of its own; no thread outlives a test."""
    monkeypatch.chdir(tmp_path)
    yield
    assert [each.name for each in threading.enumerate() if each.name.startswith("crate")] == []


def photos(count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Job]:
    """Put photos of alternating sizes on the desk."""
    jobs = []
    for index in range(count):
        path = Path(f"{index:03}.png")
        width, height = sizes[index % len(sizes)]
        grain = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(grain).save(path)
        jobs.append(Job(path, None))
    return jobs


def name(photo: DecodedPhoto, views: list[View]) -> str:
    assert len(views) == 1
    return photo.job.name


def told(outcomes: Iterator[str | Failure | Skipped]) -> list[str]:
    return [each if isinstance(each, str) else str(getattr(each, "error", "skipped")) for each in outcomes]


def test_photos_of_a_size_go_together(model: Model) -> None:
    jobs = photos(18)
    done = told(work_through(jobs, Desk(model, batch_size=3), QUESTION, name))
    assert sorted(done) == [job.name for job in jobs]
    assert sorted(model.shown) == sorted([(3, 16, 16), (3, 24, 16), (3, 16, 24)] * 2)


def test_who_has_waited_long_goes_alone(model: Model) -> None:
    """A rare size waits for company no longer than two batches."""
    jobs = photos(1, [(64, 16)]) + photos(40)[1:]
    done = told(work_through(jobs, Desk(model, batch_size=4), QUESTION, name))
    assert len(done) == 40
    assert done.index("000.png") < 16


def test_outcomes_come_in_the_same_order_whatever_the_threads_do(model: Model) -> None:
    jobs = photos(30)
    for broken in (3, 4, 17, 29):
        Path(f"{broken:03}.png").write_bytes(b"no photo")
    random = np.random.default_rng(0)

    def slowly(photo: DecodedPhoto, views: list[View]) -> str:
        time.sleep(random.uniform(0, 0.01))
        return name(photo, views)

    first, *others = [told(work_through(jobs, Desk(model, 4), QUESTION, slowly)) for _ in range(4)]
    assert sorted(each[:7] for each in first) == [job.name for job in jobs]
    assert others == [first] * 3


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the photos that are decoded, as they are."""
    decoded: list[str] = []
    decode = images.decode

    def counting(data: bytes, name: str, *, max_pixels: int, range: str) -> images.Decoded:
        decoded.append(name)
        return decode(data, name, max_pixels=max_pixels, range=range)

    monkeypatch.setattr(images, "decode", counting)
    return decoded


def test_decoding_ahead_is_bounded(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 15: in number, whatever waits."""
    jobs, decoded = photos(100, SIZES[:1]), counted(monkeypatch)
    most = 0
    for done, _ in enumerate(work_through(jobs, Desk(model, 2), QUESTION, name)):
        time.sleep(0.002)
        most = max(most, len(decoded) - done)
    assert 2 < most <= 4 * batch.AHEAD * 2 + batch.WORKERS


def test_what_is_decoded_ahead_is_bounded_in_bytes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 15: and the run neither stops nor loses a photo where the room is full all the time."""
    jobs, decoded = photos(60, SIZES[:1]), counted(monkeypatch)
    monkeypatch.setattr(batch, "HELD", 3 * 16 * 24 * 3)  # three photos
    most, names = 0, []
    for done, each in enumerate(work_through(jobs, Desk(model, 8), QUESTION, name)):
        time.sleep(0.002)
        most = max(most, len(decoded) - done)
        names.append(each)
    assert names == [job.name for job in jobs]
    assert most <= 3 + 2 * batch.WORKERS


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError("Unable to allocate 2.00 GiB"),
    ],
    ids=["cuda", "cpu", "numpy"],
)
def test_out_of_memory_halves_the_batch(model: Model, error: Exception) -> None:
    """FAULTS 14: once, and for the rest of the run."""
    model.holds, model.error = 2, error
    jobs, notes = photos(24, SIZES[:1]), list[str]()
    done = told(work_through(jobs, Desk(model, 8, note=notes.append), QUESTION, name))
    assert done == [job.name for job in jobs]
    assert [each[0] for each in model.shown] == [8, 4] + 12 * [2]
    assert notes == [
        "out of memory with 8 photos together: going on with 4",
        "out of memory with 4 photos together: going on with 2",
    ]


def test_a_photo_too_large_for_memory_is_seen_in_tiles(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 14: and only it."""
    jobs, notes = photos(5, [(48, 48), (16, 16)]), list[str]()
    unroll, largest = Model.unroll, []

    def small_only(self: Model, images: Tensor) -> Iterator[LayerState]:
        if images.shape[2] * images.shape[3] > 1200:
            raise MemoryError
        largest.append(images.shape[2])
        return unroll(self, images)

    monkeypatch.setattr(Model, "unroll", small_only)

    def grid(photo: DecodedPhoto, views: list[View]) -> str:
        assert all(np.isfinite(part).all() for part in (views[0].attention, views[0].tokens))
        return f"{photo.job.name} {views[0].grid.rows}"

    done = told(work_through(jobs, Desk(model, 1, note=notes.append), Question((1,), (48,)), grid))
    assert done == [f"{job.name} 12" for job in jobs]
    assert max(largest) < 48
    assert notes[0] == "000.png: out of memory at 48 × 48 px: seen in overlapping tiles"
    assert len(notes) == 5


def test_a_photo_that_even_tiles_do_not_save_fails_alone(model: Model) -> None:
    """FAULTS 14."""
    model.holds = 0
    jobs = photos(3)
    failed = told(work_through(jobs, Desk(model, 2), QUESTION, name))
    assert sorted(failed) == [
        f"{job.name}: needs more memory than there is, even in tiles: choose a smaller size" for job in jobs
    ]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc"), InputError("001.png: odd")])
def test_what_fails_behind_the_model_fails_alone(model: Model, error: Exception) -> None:
    """FAULTS 14: refinement and drawing take memory too."""

    def finish(photo: DecodedPhoto, views: list[View]) -> str:
        if photo.job.name == "001.png":
            raise error
        return photo.job.name

    reason = str(error) if isinstance(error, InputError) else "001.png: needs more memory than there is"
    done = told(work_through(photos(4, SIZES[:1]), Desk(model, 2), QUESTION, finish))
    assert done == ["000.png", reason, "002.png", "003.png"]


def test_a_map_that_is_not_finite_fails_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 14: one white photo of eight makes NaN."""
    jobs = photos(8, SIZES[:1])
    Image.new("RGB", SIZES[0], "white").save(jobs[5].name)
    unroll = Counting.unroll

    def unwell(self: Model, images: Tensor) -> Iterator[LayerState]:
        images = torch.where(images.std(dim=(1, 2, 3), keepdim=True) < 0.2, torch.nan, images)
        return unroll(self, images)

    monkeypatch.setattr(Model, "unroll", unwell)
    done = told(work_through(jobs, Desk(model, 8), QUESTION, name))
    assert done == [
        "005.png: the model's attention is not finite" if job is jobs[5] else job.name for job in jobs
    ]


def test_a_bug_is_not_taken_for_a_bad_photo(model: Model) -> None:
    def finish(photo: DecodedPhoto, views: list[View]) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        told(work_through(photos(40), Desk(model, 4), QUESTION, finish))


def test_a_disk_that_cannot_be_written_ends_the_run(model: Model) -> None:
    """FAULTS 11: what was finished until then is told of before."""
    finished: list[str] = []

    def finish(photo: DecodedPhoto, views: list[View]) -> str:
        if photo.job.name >= "010.png":
            raise OutputError("no space")
        finished.append(photo.job.name)
        return photo.job.name

    outcomes = work_through(photos(100), Desk(model, 4), QUESTION, finish)
    done: list[object] = []
    with pytest.raises(OutputError, match="no space"):
        for outcome in outcomes:
            done.append(outcome)
    assert sorted(map(str, done)) == sorted(finished)
    assert 0 < len(finished) <= 10


def test_an_output_that_alone_cannot_be_written_fails_its_photo(model: Model) -> None:
    """FAULTS 23."""

    def finish(photo: DecodedPhoto, views: list[View]) -> str:
        if photo.job.name == "005.png":
            raise OutputError("005.png: a name too long", alone=True)
        return photo.job.name

    done = told(work_through(jobs := photos(20), Desk(model, 4), QUESTION, finish))
    assert sorted(done) == sorted(
        ["005.png: a name too long", *(job.name for job in jobs if job is not jobs[5])]
    )


def test_a_run_that_is_asked_to_end_finishes_what_the_model_has(model: Model) -> None:
    """FAULTS 12."""
    finished: list[str] = []

    def finish(photo: DecodedPhoto, views: list[View]) -> str:
        time.sleep(0.01)
        finished.append(photo.job.name)
        return photo.job.name

    desk = Desk(model, 4, stopping=lambda: bool(finished))
    done = told(work_through(photos(100, SIZES[:1]), desk, QUESTION, finish))
    assert done == sorted(finished)
    assert len(done) == sum(each[0] for each in model.shown) < 20


def test_a_run_that_nobody_follows_any_more_ends(model: Model) -> None:
    outcomes = work_through(photos(40), Desk(model, 4), QUESTION, name)
    next(outcomes)
    outcomes.close()
    assert len(model.shown) < 10


def test_a_photo_that_goes_meanwhile(model: Model) -> None:
    """FAULTS 13."""
    jobs = photos(60, SIZES[:1])
    outcomes = work_through(jobs, Desk(model, 2), QUESTION, name)
    first = next(outcomes)
    Path("050.png").unlink()
    Path("051.png").write_bytes(Path("051.png").read_bytes()[:100])
    rest = told(outcomes)
    assert first == "000.png"
    assert rest[49] == "050.png: no such file"
    assert rest[50].startswith("051.png: cannot be read as an image")
    assert len(rest) == 59


def test_without_a_question_the_model_is_left_out(model: Model) -> None:
    done = told(work_through(photos(5), Desk(model, 2), None, lambda photo, views: f"{len(views)}"))
    assert (done, model.shown) == (["0"] * 5, [])


def test_a_grid_too_large_is_refused_before_the_model_is_asked(model: Model) -> None:
    jobs = photos(4, [(16, 16), (16, 64)])
    done = told(work_through(jobs, Desk(model, 2), Question((1,), (16,), most_patches=20), name))
    told_of_tall = "64 patches are more than MaskCut can hold (20): choose a smaller size"
    assert sorted(done) == ["000.png", f"001.png: {told_of_tall}", "002.png", f"003.png: {told_of_tall}"]
    assert {each[1:] for each in model.shown} == {(16, 16)}


def test_photos_in_another_process_are_waited_for_and_taken_over(model: Model, other: Other) -> None:
    """FAULTS 13: who is killed leaves its photos to the others."""
    jobs = [Job(job.source, Path("out") / job.name) for job in photos(6)]
    other("ledger.open([], resume=False)")
    assert other("ledger.claim(Job(Path('002.png'), Path('out/002.png')))") == "True"
    killer = threading.Timer(1.0, other.kill)
    with Ledger(Path("out/manifest.jsonl"), made()) as ledger:
        assert ledger.open(jobs, resume=False)
        killer.start()
        done = told(work_through(jobs, Desk(model, 2, ledger=ledger), QUESTION, name))
    killer.join()
    assert sorted(done) == [job.name for job in jobs]
    assert done[-1] == "002.png"


def test_a_failed_photo_is_given_back(model: Model, other: Other) -> None:
    """FAULTS 13: another process may try it."""
    (bad,) = photos(1)
    Path(bad.name).write_bytes(b"no photo")
    bad = Job(bad.source, Path("out/000.png"))
    with Ledger(Path("out/manifest.jsonl"), made()) as ledger:
        ledger.open([bad], resume=False)
        (failure,) = work_through([bad], Desk(model, 2, ledger=ledger), QUESTION, name)
        assert isinstance(failure, Failure)
        other("ledger.open([], resume=False)")
        assert other("ledger.claim(Job(Path('000.png'), Path('out/000.png')))") == "True"


def test_what_photos_hold_is_given_back(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 15: whether they fail, are skipped or done."""
    rooms: list[MemoryBudget] = []

    class Watched(MemoryBudget):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            rooms.append(self)

    monkeypatch.setattr(batch, "MemoryBudget", Watched)
    jobs = photos(20)
    Path("003.png").write_bytes(b"no photo")
    told(work_through(jobs, Desk(model, 4), Question((1,), (16,), most_patches=20), name))
    model.holds = 0
    told(work_through(jobs, Desk(model, 4), QUESTION, name))
    assert [room._held for room in rooms] == [0, 0]


def test_photos_are_cropped_or_refused_before_the_model_sees_them(model: Model) -> None:
    def prepare(job: Job, rgb: RGB) -> RGB:
        if job.name == "001.png":
            raise InputError("001.png: not this one")
        return np.ascontiguousarray(rgb[:16, :16])

    def shape(photo: DecodedPhoto, views: list[View]) -> str:
        return str((photo.rgb.shape, tuple(views[0].grid)))

    outcomes = told(work_through(photos(3), Desk(model), QUESTION, shape, prepare))
    assert sorted(outcomes) == ["((16, 16, 3), (4, 4))", "((16, 16, 3), (4, 4))", "001.png: not this one"]
    assert model.shown == [(2, 16, 16)]


def test_squares_go_together_whatever_their_shape(model: Model) -> None:
    assert len(told(work_through(photos(3), Desk(model), Question((1,), (16,), square=True), name))) == 3
    assert model.shown == [(3, 16, 16)]

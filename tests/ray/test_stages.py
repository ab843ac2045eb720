"""What workers do with photos, in this process: rows in, rows out; what fails goes on as its error."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from cratecli.errors import InputError
from cratecli.io.formats.record import Annotated
from cratecli.io.sources.packed import Packed
from cratecli.model.engine import DistantModel
from cratecli.ray import parcels, stages
from cratecli.ray.parcels import Carried, Ended, Fault, Item, ModelChoice, Noted, Order, Parcel, unpack
from cratecli.runs import batch
from cratecli.runs.desk import DecodedPhoto, Finished
from cratecli.runs.jobs import Job
from cratecli.runs.streams import Stream
from cratecli.runs.views import Question, views_of
from tests.support.shards import jpeg, tar_of


def count_views(photo: DecodedPhoto, views: list[object]) -> Finished[int]:
    height, width = photo.rgb.shape[:2]
    return Finished(len(views), Annotated(photo.job.name, height, width, ()))


def fail(photo: DecodedPhoto, views: list[object]) -> Finished[int]:
    raise ZeroDivisionError(photo.job.name)


CHOICE = ModelChoice(None, "onnx", "cpu", "auto", threads=1)


@pytest.fixture(scope="module")
def model() -> DistantModel:
    return DistantModel(stages.load_here(CHOICE))


def order(model: DistantModel, root: Path, **changed: object) -> bytes:
    asked = Order(
        choice=CHOICE,
        model=model,
        question=Question((4,), (32, 32)),
        finish=count_views,  # type: ignore[arg-type]
        batch_size=2,
        max_pixels=10_000,
        range="auto",
        root=root,
    )
    return pickle.dumps(replace(asked, **changed))  # type: ignore[arg-type]


def carried(asked: bytes, parcel: Parcel) -> list[Item]:
    """Carry a parcel through all stages."""
    look = stages.Look(asked)
    items: list[Item] = []
    for read in stages.read({"parcel": pickle.dumps(parcel)}, order=asked):
        for decoded in stages.decode(read, order=asked):
            items += unpack(stages.finish(look(decoded), order=asked))
    return items


def test_a_shard_goes_through(tmp_path: Path, model: DistantModel) -> None:
    members = {f"{number}.jpg": jpeg(number, 40 if number % 2 else 32) for number in range(7)}
    members |= {"2.jpg": b"no photo", "5.jpg": jpeg(5, 200, 200), "mask.mask.png": b""}
    (tmp_path / "s.tar").write_bytes(tar_of(members))
    stream = Stream(Packed("s.tar", "tar"), "s", Path("out/s"))
    items = carried(order(model, tmp_path), Parcel(3, 2, stream=stream))
    photos = {each.number: each for each in items if isinstance(each, Carried)}
    assert list(photos) == list(range(7))
    assert {each.source for each in photos.values()} == {3}
    states = {number: each.state for number, each in photos.items()}
    done = {number: state.result for number, state in states.items() if isinstance(state, Finished)}
    assert done == dict.fromkeys((0, 1, 3, 4, 6), 2)
    assert isinstance(states[2], InputError)
    assert str(states[2]) == "s.tar::2.jpg: not an image of a known format"
    assert "200 × 200 px, more than 10,000 pixels" in str(states[5])
    assert photos[0].job.target == Path("out/s/0.png")
    assert items.count(Ended(3, 7)) == 1
    assert any(isinstance(each, Noted) and "passed over 1 picture" in each.text for each in items)
    again = Parcel(
        3,
        2,
        stream=stream,
        known={"0.jpg": photos[0].sha256, "1.jpg": "another"},
        settled=frozenset((2, 3, 4, 5, 6)),
    )
    rest = [each for each in carried(order(model, tmp_path), again) if isinstance(each, Carried)]
    assert [(each.number, each.state is None) for each in rest] == [(0, True), (1, False)]


def test_photos_travel_together_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [Carried(0, number, Job(None, None, number), state=b"1234") for number in range(5)]
    rows = [unpack(row) for row in parcels.grouped([*photos, Ended(0, 5)], 2)]
    assert [len(row) for row in rows] == [2, 2, 2]
    assert rows[-1][-1] == Ended(0, 5)
    monkeypatch.setattr(parcels, "MOST", 12)
    assert [len(unpack(row)) for row in parcels.grouped(photos, 100)] == [3, 2]
    assert list(parcels.grouped([], 2)) == []


def test_out_of_memory_halves_the_batch_of_a_worker_for_good(
    tmp_path: Path, model: DistantModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def tight(photos: list[object], *rest: object, **more: object) -> object:
        together.append(len(photos))
        if len(photos) > 2:
            raise MemoryError
        return views_of(photos, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "views_of", tight)
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(number))
    asked = order(model, tmp_path, batch_size=4)
    look = stages.Look(asked)
    parcel = Parcel(0, 4, [(number, Job(Path(path.name), None)) for number, path in enumerate(paths)])
    (read,) = stages.read({"parcel": pickle.dumps(parcel)}, order=asked)
    (decoded,) = stages.decode(read, order=asked)
    first, second = unpack(look(decoded)), unpack(look(decoded))
    assert together == [4, 2, 2, 2, 2]
    assert [type(each) for each in first] == [Carried] * 4 + [Noted]
    assert [type(each) for each in second] == [Carried] * 4
    assert all(isinstance(each.state, tuple) for each in second if isinstance(each, Carried))


def test_an_error_of_the_program_is_told_and_the_worker_goes_on(
    tmp_path: Path, model: DistantModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    parcel = Parcel(0, 2, [(0, Job(Path("a.jpg"), None))])
    asked = order(model, tmp_path, finish=fail)
    items = carried(asked, parcel)
    assert isinstance(items[-1], Fault)
    assert "ZeroDivisionError: a.jpg" in items[-1].trace
    look = stages.Look(order(model, tmp_path))
    (read,) = stages.read({"parcel": pickle.dumps(parcel)}, order=asked)
    (decoded,) = stages.decode(read, order=asked)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "views_of", fail)
        assert any(isinstance(each, Fault) for each in unpack(look(decoded)))
    assert not any(isinstance(each, Fault) for each in unpack(look(decoded)))


def test_an_order_is_unpacked_once_and_is_one(tmp_path: Path, model: DistantModel) -> None:
    asked = order(model, tmp_path)
    assert parcels.order_of(asked) is parcels.order_of(asked)
    with pytest.raises(TypeError, match="an order is a dict"):
        parcels.order_of(pickle.dumps({}))

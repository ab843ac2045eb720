"""What a step sees depends on its number alone: not on who loads it, nor on where the run began."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest
import torch
from torch import Tensor

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.training.batches import (
    Share,
    StepSampler,
    steps_per_epoch,
    training_batches,
    validation_batches,
)
from cratecli.training.sources import OpenedDataset, Source, open_source, training_source, validation_source
from tests.support.toy import CLASSES, RECIPE, packed, sharded, toy

Batches = list[tuple[Tensor, Tensor]]


# timm leaves the closing of files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy(tmp_path_factory.mktemp("toy"))


def opened(data: Path) -> OpenedDataset:
    return open_source(training_source(data), RECIPE, training=True)


def same(one: Batches, other: Batches) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_what_a_batch_is(data: Path) -> None:
    (images, classes), *others = training_batches(opened(data), RECIPE, range(2), workers=0)
    assert (images.shape, images.dtype) == ((8, 3, 16, 16), torch.uint8)
    assert (classes.shape, classes.dtype) == ((8,), torch.int64)
    assert len(others) == 1
    for image, number in zip(
        images.float(), classes, strict=True
    ):  # the class's own channel is the brightest
        assert image.mean(dim=(1, 2)).argmax() == 2 - number


def test_every_image_once_a_pass(data: Path) -> None:
    order = StepSampler(36, 8, 0, range(8), Share())
    batches = list(order)
    assert len(order) == len(batches) == 8
    for number in range(2):
        keys = [key for batch in batches[number * 4 : number * 4 + 4] for key in batch]
        assert {each for each, _ in keys} == {number}
        assert len({index for _, index in keys}) == 32  # what does not fill a batch is left out
    assert batches[:4] != batches[4:]
    assert [index for _, index in batches[0]] != list(range(8))


@pytest.mark.parametrize(("workers", "first"), [(0, 1), (0, 4), (2, 6)])
def test_the_same_step_wherever_a_run_begins(data: Path, first: int, workers: int) -> None:
    whole = list(training_batches(opened(data), RECIPE, range(8), workers=0))
    assert same(list(training_batches(opened(data), RECIPE, range(first, 8), workers=workers)), whole[first:])


def test_passes_are_augmented_differently(data: Path) -> None:
    labelled = replace(RECIPE, batch_size=36)
    first, second = training_batches(opened(data), labelled, range(2), workers=0)
    assert not torch.equal(first[0].sort(dim=0).values, second[0].sort(dim=0).values)


def test_processes_share_a_step(data: Path) -> None:
    whole = list(training_batches(opened(data), RECIPE, range(4), workers=0))
    parts = [
        list(training_batches(opened(data), RECIPE, range(4), workers=0, share=Share(rank, 2)))
        for rank in (0, 1)
    ]
    for (images, classes), one, other in zip(whole, *parts, strict=True):
        assert torch.equal(images[0::2], one[0])
        assert torch.equal(images[1::2], other[0])
        assert torch.equal(classes[0::2], one[1])


def test_validation_is_all_of_it_in_order(data: Path) -> None:
    held = validation_source(data, training_source(data))
    assert held is not None
    labelled = open_source(held, RECIPE, training=False, labels=CLASSES)
    batches = list(validation_batches(labelled, RECIPE, workers=0))
    assert torch.cat([classes for _, classes in batches]).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    shares = [
        list(validation_batches(labelled, RECIPE, workers=0, share=Share(rank, 5))) for rank in range(5)
    ]
    assert sum(len(classes) for share in shares for _, classes in share) == 12


def test_a_tar_is_as_good_as_its_folder(data: Path, tmp_path: Path) -> None:
    packed(data / "train", tmp_path / "train.tar")
    packed(data / "val", tmp_path / "val.tar")
    (tmp_path / "_train_tarinfos.pickle").write_bytes(b"cposix\nsystem\n(S'touch owned'\ntR.")  # never read
    source = training_source(tmp_path)
    assert source == Source(tmp_path / "train.tar")
    tarred = open_source(source, RECIPE, training=True)
    assert tarred.labels == CLASSES
    assert tarred.images == 36
    one = list(training_batches(tarred, RECIPE, range(6), workers=2))
    assert same(one, list(training_batches(opened(data), RECIPE, range(6), workers=0)))
    assert validation_source(tmp_path, source) == Source(tmp_path / "val.tar")


@pytest.mark.parametrize(("workers", "first_step"), [(1, 3), (2, 4), (2, 6)])
def test_a_stream_of_shards(data: Path, tmp_path: Path, workers: int, first_step: int) -> None:
    pytest.importorskip("webdataset", reason="the extra `datasets` is not installed")
    shards = sharded(data, tmp_path / "shards")

    def stream() -> OpenedDataset:
        return open_source(Source(shards, "wds/", "train"), RECIPE, training=True)

    assert stream().streamed
    assert (stream().images, stream().shards) == (36, 2)
    first = list(training_batches(stream(), RECIPE, range(8), workers=workers))
    assert all(images.shape == (8, 3, 16, 16) for images, _ in first)
    assert len({tuple(classes.tolist()) for _, classes in first}) > 1
    assert same(
        list(training_batches(stream(), RECIPE, range(first_step, 8), workers=workers)), first[first_step:]
    )


def test_a_hub_data_set(data: Path, tmp_path: Path) -> None:
    """A folder stands for a repository of the Hub: timm and `datasets` take both by one name."""
    pytest.importorskip("datasets", reason="the extra `datasets` is not installed")
    labelled = open_source(Source(tmp_path, f"hfds/{data}", "train"), RECIPE, training=True)
    assert (labelled.images, labelled.classes, labelled.labels) == (36, 3, CLASSES)
    batches = list(training_batches(labelled, RECIPE, range(4), workers=0))
    assert same(list(training_batches(labelled, RECIPE, range(2, 4), workers=1)), batches[2:])


def test_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(NothingMatchedError, match="is not there"):
        training_source(tmp_path / "none")
    with pytest.raises(NothingMatchedError, match="neither in"):
        training_source(tmp_path, named="trainn")
    with pytest.raises(NothingMatchedError, match="neither in"):
        validation_source(tmp_path, Source(tmp_path), "held")
    assert validation_source(tmp_path, Source(tmp_path)) is None
    for path in (tmp_path / "empty", tmp_path / "empty.tar"):
        if path.suffix:
            packed(tmp_path / "empty", path)
        else:
            path.mkdir()
        with pytest.raises(NothingMatchedError, match="holds no images"):
            open_source(Source(path), RECIPE, training=True)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"train\.tar: cannot be read"):
        open_source(Source(tmp_path / "train.tar"), RECIPE, training=True)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(Source(tmp_path, "torch/nothing"), RECIPE, training=True)


def test_fewer_images_than_a_batch(data: Path) -> None:
    with pytest.raises(UsageError, match="36 images do not fill a batch of 64"):
        steps_per_epoch(opened(data), replace(RECIPE, batch_size=64))


def test_a_stream_that_ends_early(data: Path) -> None:
    class Short(torch.utils.data.IterableDataset[tuple[object, int]]):
        def __iter__(self) -> Iterator[tuple[object, int]]:
            from PIL import Image

            yield from ((Image.new("RGB", (20, 20)), 0) for _ in range(9))

        def __len__(self) -> int:
            return 24

        def set_epoch(self, _number: int) -> None:
            pass

        def set_loader_cfg(self, num_workers: int) -> None:
            pass

    labelled = OpenedDataset(Short(), 24, 1, ("a",), "")
    batches = training_batches(labelled, RECIPE, range(3), workers=0)
    next(batches)
    with pytest.raises(InputError, match="ended after 1 batch, and promised 3"):
        next(batches)


def test_what_is_trained_on_does_not_validate(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "val"):
        (tmp_path / name).mkdir()
    assert validation_source(tmp_path, training_source(tmp_path)) is None  # a class may be named so
    with pytest.raises(UsageError, match="lies in what is trained on"):
        validation_source(tmp_path, training_source(tmp_path), "val")


def test_classes_are_numbered_as_in_training(data: Path, tmp_path: Path) -> None:
    toy(tmp_path, val=2)
    shutil.rmtree(tmp_path / "val/blue")
    labelled = open_source(Source(tmp_path / "val"), RECIPE, training=False, labels=CLASSES)
    (_, classes), *_ = validation_batches(labelled, RECIPE, workers=0)
    assert classes.tolist() == [1, 1, 2, 2]
    (tmp_path / "val/red").rename(tmp_path / "val/violet")
    with pytest.raises(InputError, match="has classes that training has not: violet"):
        open_source(Source(tmp_path / "val"), RECIPE, training=False, labels=CLASSES)


@pytest.mark.parametrize("kind", ["wds", "hdfs/USER/NAME", "foo/bar", "folder"])
def test_a_kind_of_data_set_that_timm_has_not(data: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="is no kind of data set of timm: wds/, hfds/"):
        training_source(data, kind)


def test_the_split_for_validation_may_be_trained_on(data: Path) -> None:
    source = training_source(data, named="val")
    assert source == Source(data / "val")
    assert validation_source(data, source) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_does_not_validate(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    toy(tmp_path)
    source = Source(tmp_path / "val")
    for number in (0, 1, 3):
        (tmp_path / f"val/blue/{number}.png").write_bytes(b"broken")
    few = replace(RECIPE, batch_size=2)  # one batch is left with nothing
    labelled = open_source(source, few, training=False, labels=CLASSES)
    batches = list(validation_batches(labelled, few, workers=workers))
    assert torch.cat([classes for _, classes in batches]).tolist() == [0] + [1] * 4 + [2] * 4
    if not workers:
        assert [record.getMessage().count("passed over") for record in caplog.records] == [1, 1, 1]
        caplog.clear()
        list(validation_batches(labelled, few, workers=0, log=False))
        assert not caplog.records


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files here")
def test_pipes_and_loops_are_left_out(tmp_path: Path) -> None:
    toy(tmp_path)
    os.mkfifo(tmp_path / "train/red/pipe.png")
    (tmp_path / "train/red/loop").symlink_to("..")
    (tmp_path / "train/red/broken.png").symlink_to("nowhere")
    labelled = opened(tmp_path)
    assert labelled.images == 36
    assert labelled.left_out > 2
    assert len(list(training_batches(labelled, RECIPE, range(4), workers=1))) == 4


def test_what_is_no_photo_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Our own reader decodes: a bomb, and a format that would start another program, are refused by it."""
    toy(tmp_path)
    (tmp_path / "train/red/0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    size = (50_000).to_bytes(4, "big")
    bomb = b"IHDR" + size + size + b"\x08\x02\x00\x00\x00"
    content = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + bomb + crc32(bomb).to_bytes(4, "big")
    (tmp_path / "train/red/1.png").write_bytes(content)
    labelled = replace(RECIPE, batch_size=36)
    (images, _), *_ = training_batches(opened(tmp_path), labelled, range(1), workers=0)
    assert len(images) == 36
    names = sorted(record.getMessage().partition(": ")[2].partition(": ")[0] for record in caplog.records)
    assert [Path(name).name for name in names] == ["0.png", "1.png"]  # each once


def test_a_webp_is_a_photo(tmp_path: Path) -> None:
    from PIL import Image

    toy(tmp_path)
    Image.open(tmp_path / "train/red/0.png").save(tmp_path / "train/red/more.webp")
    assert opened(tmp_path).images == 37


def test_a_class_that_the_model_has_not(data: Path) -> None:
    small = RECIPE.changed({"classes": "2"})
    with pytest.raises(InputError, match="of class 2, and the model has 2"):
        list(training_batches(opened(data), small, range(4), workers=0))


def test_the_centre_is_the_centre(data: Path) -> None:
    """The paper's ImageNet-21k recipe: nothing is drawn but the flip."""
    still = replace(RECIPE, crop="rkrc", flip=0.0, batch_size=36)
    first, second = training_batches(opened(data), still, range(2), workers=0)
    assert sorted(map(bytes, first[0].numpy())) == sorted(map(bytes, second[0].numpy()))


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_pictures(tmp_path: Path, workers: int) -> None:
    for picture in toy(tmp_path).rglob("*.png"):
        picture.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"cannot be read on: .*10 images in a row cannot be read"):
        next(training_batches(opened(tmp_path), RECIPE, range(2), workers=workers))


def test_identity_tells_data_sets_apart(data: Path, tmp_path: Path) -> None:
    assert opened(data).identity == opened(data).identity
    assert opened(toy(tmp_path, train=11)).identity != opened(data).identity
    before = opened(tmp_path).identity
    one, other = (tmp_path / f"train/{name}/0.png" for name in ("red", "blue"))
    one.write_bytes(other.read_bytes() + b"more")
    assert opened(tmp_path).identity != before

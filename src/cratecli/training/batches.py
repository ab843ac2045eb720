"""The batches of training: those of a step depend on its number alone, not on workers or on where a run begins."""

import logging
import random
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.data import create_transform
from torch.utils.data import Dataset, IterableDataset

from cratecli.errors import InputError, UsageError
from cratecli.io import images
from cratecli.training.loader import Batch, load_batches
from cratecli.training.recipe import TrainRecipe
from cratecli.training.sources import OpenedDataset
from cratecli.wording import count_of

_log = logging.getLogger(__name__)

_MOST_BROKEN = 10  # images in a row
_CROP_PCT = 0.875  # of the resized image, which validation shows


class Share(NamedTuple):
    """This process among several: its number, from 0, and how many there are."""

    rank: int = 0
    ranks: int = 1


ALONE = Share()


def augmentation(recipe: TrainRecipe, *, training: bool) -> Any:
    """Build timm's transform of a Pillow image to `3 h w`, uint8. Raises `UsageError` for a strange `auto_augment`."""
    shared: dict[str, Any] = {
        "input_size": recipe.model.image_size,
        "interpolation": "bicubic",
        "use_prefetcher": True,  # normalised later, on the device
    }
    if training:
        shared |= {
            "is_training": True,
            "train_crop_mode": recipe.crop,
            "scale": (recipe.crop_area, 1.0) if recipe.crop == "rrc" else (1.0, 1.0),
            "ratio": None if recipe.crop == "rrc" else (1.0, 1.0),
            "hflip": recipe.flip,
            "color_jitter": recipe.colour_jitter or None,
            "auto_augment": recipe.auto_augment or None,
        }
    try:
        return create_transform(**shared, crop_pct=_CROP_PCT)
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise UsageError(f"auto_augment {recipe.auto_augment!r} is no policy of timm: {error}") from None


def seed_all(*numbers: int) -> None:
    """Seed Python's, NumPy's and torch's generators, on the CPU, by the numbers that name a piece of work."""
    first, second = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(first))
    np.random.seed(int(first))
    torch.default_generator.manual_seed(
        (int(first) << 32) + int(second)
    )  # the GPUs' would cost more than an image


class LabelledPhotos:
    """A data set of random access, as upright RGB Pillow images and the numbers of their classes."""

    def __init__(self, data: OpenedDataset, classes: int) -> None:
        """Wrap timm's data set, whose classes are numbered below `classes`."""
        self._dataset, self._classes = data.dataset, classes

    def __len__(self) -> int:
        """Count the images."""
        return len(self._dataset)

    def read(self, index: int, *, log: bool) -> tuple[Any, int] | None:
        """Read an image; none where it cannot be read, which `log` logs. Raises `ValueError` for an unknown class."""
        try:
            content, label = self._dataset[index]
            image = (
                images.as_pillow(images.read_bytes(content, self._name(index)))
                if isinstance(content, bytes)
                else content
            )
        except (InputError, OSError) as error:
            if log:
                _log.warning("crate: %s: passed over", " ".join(str(error).split()))
            return None
        return image.convert("RGB"), known_class(label, self._classes)

    def read_next(self, index: int, *, log: bool) -> tuple[Any, int]:
        """Read an image, or the next one that can be read. Raises `ValueError` where many in a row cannot be."""
        for place in range(index, index + _MOST_BROKEN):
            photo = self.read(place % len(self), log=log and place == index)
            if photo is not None:
                return photo
        raise ValueError(f"{_MOST_BROKEN} images in a row cannot be read, the first is {self._name(index)}")

    def _name(self, number: int) -> str:
        reader = getattr(self._dataset, "reader", None)
        return str(reader.filename(number, absolute=True)) if reader else f"image {number}"


def known_class(label: Any, classes: int) -> int:
    """Check that a class's number is below `classes`, and give it. Raises `ValueError`."""
    if not 0 <= int(label) < classes:
        raise ValueError(f"an image is of class {int(label)}, and the model has {classes}: --set classes=N")
    return int(label)


class AugmentedPhotos(Dataset[tuple[Any, int]]):
    """Photos by (epoch, index), augmented the same way for the same pair, in whichever process."""

    def __init__(self, photos: LabelledPhotos, transform: Any, seed: int) -> None:
        """Augment photos."""
        self._photos, self._transform, self._seed = photos, transform, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, int]:
        """Read and augment an image."""
        image, label = self._photos.read_next(key[1], log=key[0] == 0)
        seed_all(self._seed, *key)
        return self._transform(image), label


class StepSampler:
    """Samples the images of each step: every epoch has an order of its own, and leaves out what does not fill a batch.

    The images of a step are dealt out to the processes in turn: together they see the same for any number of them.
    """

    def __init__(self, images: int, batch: int, seed: int, steps: range, share: Share) -> None:
        """Sample for some steps, `batch` images each over all processes."""
        self._images, self._batch, self._seed = images, batch, seed
        self._steps, self._share = steps, share

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Give, for each step, the (epoch, index) of the images of this process."""
        steps = self._images // self._batch
        order, known = np.empty(0, int), -1
        for step in self._steps:
            number, place = divmod(step, steps)
            if number != known:
                order, known = np.random.default_rng([self._seed, number]).permutation(self._images), number
            taken = order[place * self._batch : (place + 1) * self._batch]
            yield [(number, int(index)) for index in taken[self._share.rank :: self._share.ranks]]

    def __len__(self) -> int:
        """Count the steps."""
        return len(self._steps)


class PhotoStream(IterableDataset[tuple[Any, int]]):
    """One epoch of a data set that is read in sequence; augmentation is seeded by the place in the stream."""

    def __init__(self, data: OpenedDataset, transform: Any, classes: int, *seeds: int) -> None:
        """Wrap timm's data set for the epoch that the numbers `seeds` name."""
        super().__init__()
        self._dataset, self._transform, self._classes, self._seeds = data.dataset, transform, classes, seeds

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        """Read and augment."""
        info = torch.utils.data.get_worker_info()
        for place, (image, label) in enumerate(self._dataset):
            state = random.getstate(), np.random.get_state(), torch.get_rng_state()
            seed_all(*self._seeds, info.id if info else 0, place)
            augmented = self._transform(image)
            random.setstate(state[0])
            np.random.set_state(state[1])
            torch.set_rng_state(state[2])
            yield augmented, known_class(label, self._classes)


def training_batches(
    data: OpenedDataset, recipe: TrainRecipe, steps: range, *, workers: int, share: Share = ALONE
) -> Generator[Batch]:
    """Load the batches of some steps, for one process of several.

    The same step has the same batch wherever a run begins; a streamed data set is read from the start of the epoch.
    Raises `InputError` for data that cannot be read, or a stream that ends early.
    """
    transform = augmentation(recipe, training=True)
    if not data.streamed:
        photos = AugmentedPhotos(LabelledPhotos(data, recipe.model.classes), transform, recipe.seed)
        sampler = StepSampler(data.images, recipe.batch_size, recipe.seed, steps, share)
        yield from load_batches(photos, workers, recipe.seed, batch_sampler=sampler)
        return
    per_epoch = steps_per_epoch(data, recipe)
    for number in range(steps.start // per_epoch, -(-steps.stop // per_epoch)):
        data.dataset.set_epoch(number)
        data.dataset.set_loader_cfg(num_workers=workers)
        stream = PhotoStream(data, transform, recipe.model.classes, recipe.seed, number, share.rank)
        size = recipe.batch_size // share.ranks
        loader = load_batches(stream, workers, recipe.seed + number, batch_size=size, drop_last=True)
        todo = range(number * per_epoch, min((number + 1) * per_epoch, steps.stop))
        given = 0
        for step, batch in zip(todo, loader, strict=False):
            given += 1
            if step >= steps.start:
                yield batch
        if given < len(todo):
            raise InputError(
                f"the data set ended after {count_of(given, 'batch')}, and promised {per_epoch} an epoch"
            )


def steps_per_epoch(data: OpenedDataset, recipe: TrainRecipe) -> int:
    """Count the whole batches of an epoch. Raises `UsageError` where there is none."""
    if not (steps := data.images // recipe.batch_size):
        raise UsageError(
            f"{count_of(data.images, 'image', ('does', 'do'))} not fill a batch of {recipe.batch_size}; "
            "--set batch_size=N makes it smaller"
        )
    return steps


class ValidationPhotos(Dataset[tuple[Any, int] | None]):
    """The validation photos of one process, in order; none for an image that cannot be read."""

    def __init__(self, photos: LabelledPhotos, transform: Any, share: Share, *, log: bool) -> None:
        """Deal the images out in turn, and take those of one process."""
        self._photos, self._transform, self._log = photos, transform, log
        self._indices = range(share.rank, len(photos), share.ranks)

    def __len__(self) -> int:
        """Count its images."""
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Any, int] | None:
        """Read an image."""
        photo = self._photos.read(self._indices[index], log=self._log)
        return photo and (self._transform(photo[0]), photo[1])


def validation_batches(
    data: OpenedDataset, recipe: TrainRecipe, *, workers: int, share: Share = ALONE, log: bool = True
) -> Iterator[Batch]:
    """Load a validation split, resized and cropped to the centre, for one process of several.

    timm's reader deals out a stream. An image that cannot be read is left out, which `log` logs.
    """
    transform = augmentation(recipe, training=False)
    if data.streamed:
        data.dataset.set_loader_cfg(num_workers=workers)
        dataset: Any = PhotoStream(data, transform, recipe.model.classes, recipe.seed, 0, share.rank)
    else:
        dataset = ValidationPhotos(LabelledPhotos(data, recipe.model.classes), transform, share, log=log)
    yield from load_batches(dataset, workers, recipe.seed, batch_size=min(recipe.batch_size, 512))

"""Data sets of labelled images, opened through timm."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Any

from timm.data import ImageDataset, create_dataset
from timm.data.readers import add_img_extensions
from timm.data.readers.reader_image_folder import ReaderImageFolder
from torch.utils.data import IterableDataset

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.training.recipe import TrainRecipe

_TRAINING = ("train", "training")
_ENDINGS = (".webp", ".bmp", ".gif", ".tif", ".tiff")  # of what we read, beside timm's .png, .jpg, .jpeg
_KINDS = ("wds/", "hfds/", "hfids/", "tfds/", "torch/")  # any other name would be a folder to timm
_VALIDATION = ("val", "valid", "validation", "eval", "test")


@dataclass(frozen=True)
class Source:
    """The location of a data set: its root, timm's name for its kind (empty for folders and tars), and a split."""

    root: Path
    kind: str = ""
    split: str = ""

    def __str__(self) -> str:
        """Name it for people."""
        return "/".join(part for part in (self.kind, str(self.root), self.split) if part)


def training_source(data: Path, kind: str = "", named: str | None = None) -> Source:
    """Locate the training data: the split `named`, the folder or tar `train` in `data`, or `data` itself.

    Raises `NothingMatchedError` where there is none, `UsageError` for a kind that timm does not have.
    """
    if kind and not kind.lower().startswith(_KINDS):
        raise UsageError(f"--dataset {kind!r} is no kind of data set of timm: {', '.join(_KINDS)}")
    if kind:
        return Source(data, kind, named or "train")
    if not data.exists():
        raise NothingMatchedError(f"{data}: is not there")
    return _split(data, _TRAINING, named) or Source(data)


def validation_source(data: Path, training: Source, named: str | None = None) -> Source | None:
    """Locate the validation data: the split `named`, or the folder or tar `val` beside the training data; may be none.

    Raises `NothingMatchedError` where `named` is not there, `UsageError` where it is trained on.
    """
    if training.kind:
        return Source(data, training.kind, named) if named else None
    if training.root == data and not named:
        return None
    source = _split(data, _VALIDATION, named)
    if source == training and not named:
        return None
    if source and source.root.resolve().is_relative_to(training.root.resolve()):
        raise UsageError(
            f"{source}: lies in what is trained on; put the training classes into {data / 'train'}"
        )
    return source


def _split(data: Path, names: Sequence[str], named: str | None) -> Source | None:
    for name in [named] if named else names:
        for path in (data / name, data / f"{name}.tar", *([Path(name)] if named else [])):
            if path.exists():
                return Source(path)
    if named:
        raise NothingMatchedError(f"{named}: is neither in {data} nor a path")
    return None


@dataclass(frozen=True, eq=False)
class OpenedDataset:
    """A data set of timm, with the number of its images and classes, and the classes' `labels` where it names them.

    `left_out` counts files that are no photos or links to others; `shards` counts those of a stream. `identity`, a
    SHA-256 in hexadecimal, is of the names and sizes of its files, not of their content.
    """

    dataset: Any
    images: int
    classes: int
    labels: tuple[str, ...]
    identity: str
    left_out: int = 0
    shards: int | None = None

    @property
    def streamed(self) -> bool:
        """Tell whether images can only be read one after another."""
        return isinstance(self.dataset, IterableDataset)


def open_source(
    source: Source, recipe: TrainRecipe, *, training: bool, labels: Sequence[str] = (), ranks: int = 1
) -> OpenedDataset:
    """Open a data set for one of several processes, its classes numbered in the order of `labels`, if given.

    Raises `NothingMatchedError` for a data set without images, `InputError` for one that cannot be read, or has a
    class that `labels` lacks, `UsageError` where a package is missing.
    """
    options: dict[str, Any] = {}
    if not source.kind:
        add_img_extensions(_ENDINGS)  # type: ignore[no-untyped-call]
        if source.root.suffix == ".tar":
            options["cache_tarinfo"] = False  # timm's cache is a pickle beside the data, whoever put it there
    try:
        dataset: Any = create_dataset(
            source.kind,
            root=str(source.root),
            split=source.split or "train",
            search_split=False,
            is_training=training,
            batch_size=max(1, recipe.batch_size // ranks),
            seed=recipe.seed,
            **options,
        )
        count = len(dataset)
        if isinstance(dataset, ImageDataset):
            dataset.load_bytes = True  # decoded by our own reader, not by timm's
    except (ImportError, ModuleNotFoundError) as error:
        raise UsageError(f"{source}: needs a package that is not installed: {error}") from None
    except Exception as error:  # readers raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if "Found 0 images" in reason or "not enough values" in reason:  # the folder's words, and the tar's
            raise NothingMatchedError(f"{source}: holds no images in folders of classes") from None
        raise InputError(f"{source}: cannot be read as a data set: {reason[:200]}") from None
    left_out, sizes = 0, list[int]()
    shards = getattr(getattr(dataset, "reader", None), "split_info", None)
    if isinstance(dataset, IterableDataset):
        images = getattr(shards, "num_samples", 0) or count * ranks
    else:
        left_out, sizes = _keep_photos(dataset)
        images = len(dataset)
    if images == 0:
        raise NothingMatchedError(f"{source}: holds no images")
    names = _labels(dataset)
    if labels and names:
        _renumber(dataset, names, labels, source)
    contents = f"{source.kind} {images} {names}"
    if not isinstance(dataset, IterableDataset) and hasattr(getattr(dataset, "reader", None), "filenames"):
        contents += "\n".join(map(str, dataset.filenames(basename=False, absolute=False)))
        contents += str(sizes or _size(source.root))
    digest = sha256(contents.encode("utf-8", "surrogateescape")).hexdigest()
    filenames = getattr(shards, "filenames", None)
    return OpenedDataset(
        dataset, images, len(names), names, digest, left_out, len(filenames) if filenames else None
    )


def _keep_photos(dataset: Any) -> tuple[int, list[int]]:
    """Leave out samples that are no regular files or links to others; give their number, and the sizes of the rest."""
    reader = getattr(dataset, "reader", None)
    if not isinstance(reader, ReaderImageFolder):
        return 0, []
    seen: set[str] = set()
    kept, sizes = [], []
    for path, label in reader.samples:
        real = os.path.realpath(path)
        if real not in seen and (size := _size(real)) is not None:
            seen.add(real)
            kept.append((path, label))
            sizes.append(size)
    left_out = len(reader.samples) - len(kept)
    reader.samples = kept
    return left_out, sizes


def _size(path: str | Path) -> int | None:
    """Give the size of a regular file in bytes; none for anything else."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as quick as it gets, for millions
    except OSError:
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


def _renumber(dataset: Any, names: Sequence[str], labels: Sequence[str], source: Source) -> None:
    """Number a data set's classes as training does. Raises `InputError` for a class that training does not have."""
    if strange := [name for name in names if name not in labels]:
        listed = ", ".join(strange[:6])[:200]
        raise InputError(f"{source}: has classes that training has not: {listed}")
    dataset.target_transform = [labels.index(name) for name in names].__getitem__


def _labels(dataset: Any) -> tuple[str, ...]:
    """Give the names of the classes in the order of their numbers, where the data set has names."""
    reader = getattr(dataset, "reader", dataset)
    by_name = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if by_name:
        return tuple(str(name) for name, _ in sorted(by_name.items(), key=lambda item: int(item[1])))
    features = getattr(getattr(reader, "dataset", None), "features", None) or {}
    label = features.get("label") if hasattr(features, "get") else None
    return tuple(getattr(label, "names", None) or ())

"""Data sets of labelled images, found and opened through timm."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from timm.data import create_dataset
from torch.utils.data import IterableDataset

from cratecli.errors import InputError, NothingMatchedError, UsageError
from cratecli.tasks.train_recipe import TrainRecipe

_TRAINING = ("train", "training")
_VALIDATION = ("val", "valid", "validation", "eval", "test")


@dataclass(frozen=True)
class Source:
    """Where images are: timm's name for the kind of data set, none for folders and tars, and where it lies."""

    root: Path
    kind: str = ""
    split: str = ""

    def __str__(self) -> str:
        """Name it for people."""
        return "/".join(part for part in (self.kind, str(self.root), self.split) if part)


def training_source(data: Path, kind: str = "", named: str | None = None) -> Source:
    """Find what to train on: `named`, the folder or tar `train` in `data`, or `data` itself.

    Raises `NothingMatchedError` where it is not there.
    """
    if kind:
        return Source(data, kind, named or "train")
    if not data.exists():
        raise NothingMatchedError(f"{data}: is not there")
    return _split(data, _TRAINING, named) or Source(data)


def validation_source(data: Path, kind: str = "", named: str | None = None) -> Source | None:
    """Find what to validate on: `named`, or the folder or tar `val` in `data`; there may be none.

    Raises `NothingMatchedError` where what is named is not there.
    """
    if kind:
        return Source(data, kind, named) if named else None
    return _split(data, _VALIDATION, named)


def _split(data: Path, names: Sequence[str], named: str | None) -> Source | None:
    for name in [named] if named else names:
        for path in (data / name, data / f"{name}.tar", *([Path(name)] if named else [])):
            if path.exists():
                return Source(path)
    if named:
        raise NothingMatchedError(f"{named}: is neither in {data} nor a path")
    return None


@dataclass(frozen=True, eq=False)
class Labelled:
    """An opened data set: timm's, how many images it has, and its classes by name where it tells them.

    `identity` tells it from others by what it holds, in hexadecimal.
    """

    dataset: Any
    images: int
    classes: int
    labels: tuple[str, ...]
    identity: str

    @property
    def streamed(self) -> bool:
        """Tell whether images can only be read one after another."""
        return isinstance(self.dataset, IterableDataset)


def open_source(
    source: Source, recipe: TrainRecipe, *, training: bool, labels: Sequence[str] = ()
) -> Labelled:
    """Open a data set, its classes numbered as `labels` are, if they are told.

    Raises `NothingMatchedError` for one without images, `InputError` for one that cannot be read.
    """
    options: dict[str, Any] = {}
    if source.root.suffix == ".tar" and not source.kind:
        options["cache_tarinfo"] = False  # timm's cache is a pickle beside the data, whoever put it there
    if labels and not source.kind:
        options["class_map"] = {name: number for number, name in enumerate(labels)}
    try:
        dataset: Any = create_dataset(
            source.kind,
            root=str(source.root),
            split=source.split or "train",
            search_split=False,
            is_training=training,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            **options,
        )
        images = len(dataset)
    except (ImportError, ModuleNotFoundError) as error:
        raise UsageError(f"{source}: needs a package that is not installed: {error}") from None
    except Exception as error:  # readers raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if "Found 0 images" in reason or "not enough values" in reason:  # the folder's words, and the tar's
            raise NothingMatchedError(f"{source}: holds no images in folders of classes") from None
        raise InputError(f"{source}: cannot be read as a data set: {reason[:200]}") from None
    if images == 0:
        raise NothingMatchedError(f"{source}: holds no images")
    names = _labels(dataset)
    if labels and names and not set(names) <= set(labels):
        raise InputError(f"{source}: has classes that training has not")
    told = f"{source.kind} {images} {names}"
    if not isinstance(dataset, IterableDataset) and hasattr(getattr(dataset, "reader", None), "filenames"):
        told += "\n".join(map(str, dataset.filenames(basename=True)))
    return Labelled(
        dataset, images, len(names), names, sha256(told.encode("utf-8", "surrogateescape")).hexdigest()
    )


def _labels(dataset: Any) -> tuple[str, ...]:
    """Name the classes in the order of their numbers, where the data set tells them."""
    reader = getattr(dataset, "reader", dataset)
    by_name = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if by_name:
        return tuple(str(name) for name, _ in sorted(by_name.items(), key=lambda item: int(item[1])))
    features = getattr(getattr(reader, "dataset", None), "features", None) or {}
    label = features.get("label") if hasattr(features, "get") else None
    return tuple(getattr(label, "names", None) or ())

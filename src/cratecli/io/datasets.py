"""Read evaluation data sets (folders of pairs, VOC, COCO): their photos, ground-truth masks, labels and annotations."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cratecli.arrays import RGB, Labels, Mask
from cratecli.errors import InputError, NothingMatchedError
from cratecli.io import images
from cratecli.io.formats.record import check_size
from cratecli.io.opening import open_image, without_bad_metadata

VAL2017 = "instances_val2017.json"


@dataclass(frozen=True)
class Pair:
    """Pairs a photo with the file that holds its ground truth: its own file, or one for all photos."""

    name: str
    image: Path
    truth: Path


@dataclass(frozen=True, eq=False)
class CocoSet:
    """Holds the photos of a COCO data set, and by file name their sizes (height, width; px) and raw annotations."""

    pairs: Sequence[Pair]
    sizes: Mapping[str, tuple[int, int]]
    annotations: Mapping[str, Sequence[dict[str, Any]]]


def paired(folder: Path, truths: str) -> list[Pair]:
    """Pair the files of `images/` with those of the folder `truths` beside it, by stem, sorted by name.

    Raises `InputError` for a missing folder, and for a file without a partner; `NothingMatchedError` for no photo.
    """
    photos, masks = (_by_stem(_folder(folder, each)) for each in ("images", truths))
    for here, there, what in ((photos, masks, truths), (masks, photos, "images")):
        lone = sorted(here.keys() - there.keys())
        if lone:
            more = f", and {len(lone) - 1} others have none" if len(lone) > 1 else ""
            raise InputError(f"{here[lone[0]]}: nothing in {what}/ goes with it{more}")
    if not photos:
        raise NothingMatchedError(f"no photo in {folder / 'images'}")
    return [Pair(stem, photos[stem], masks[stem]) for stem in sorted(photos)]


def voc(folder: Path, split: str) -> list[Pair]:
    """List the pairs of a split of VOC's segmentation task, in its order, from `VOCdevkit` or the folder of a year.

    Raises `InputError` for a missing folder or file, and `NothingMatchedError` for an empty list.
    """
    _there(folder)
    within = Path("ImageSets") / "Segmentation" / f"{split}.txt"
    places = [folder, *sorted(folder.glob("VOC*"), reverse=True), *sorted(folder.glob("VOCdevkit/VOC*"))]
    place = next((each for each in places if (each / within).is_file()), None)
    if place is None:
        raise InputError(f"{folder}: no {within} in it: not a VOCdevkit, or without this split")
    names = _text(place / within).split()
    if not names:
        raise NothingMatchedError(f"no photo in {place / within}")
    pairs = [
        Pair(each, place / "JPEGImages" / f"{each}.jpg", place / "SegmentationClass" / f"{each}.png")
        for each in dict.fromkeys(names)
    ]
    _all_there(path for pair in pairs for path in (pair.image, pair.truth))
    return pairs


def coco(folder: Path) -> CocoSet:
    """Read a COCO data set: `images/` and `instances.json`, or the official `val2017` layout.

    Raises `InputError` for a missing or invalid file, and `NothingMatchedError` for one without photos.
    """
    _there(folder)
    layouts = ((folder / "annotations" / VAL2017, "val2017"), (folder / "instances.json", "images"))
    file, photos = next((each for each in layouts if each[0].is_file()), layouts[-1])
    if not file.is_file():
        raise InputError(f"{folder}: neither instances.json nor annotations/{VAL2017} in it")
    try:
        whole = json.loads(_text(file))
        entries = sorted(whole["images"], key=lambda entry: str(entry["file_name"]))
        names = {entry["id"]: str(entry["file_name"]) for entry in entries}
        sizes = {str(entry["file_name"]): check_size(entry["height"], entry["width"]) for entry in entries}
        annotations: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
        for each in whole["annotations"]:
            annotations[names[each["image_id"]]].append(
                {part: each[part] for part in ("segmentation", "bbox", "area", "iscrowd")}
            )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: not COCO's annotations ({type(error).__name__}: {error})") from None
    if not entries:
        raise NothingMatchedError(f"no photo in {file}")
    root = _folder(folder, photos)
    pairs = [Pair(name, root / name, file) for name in names.values()]
    _all_there(pair.image for pair in pairs)
    return CocoSet(pairs, sizes, annotations)


def read_mask(path: Path) -> Mask:
    """Read a binary ground-truth mask: pixels above 127 are foreground. Raises `InputError`, also if there are none."""
    mask = np.asarray(images.read(path).max(axis=-1) > 127)
    if not mask.any():
        raise InputError(f"{path}: no pixel is brighter than 127: a mask is 0 and 255")
    return mask


def read_labels(path: Path) -> Labels:
    """Read a label map: the indices of an indexed picture, or the values of a grey one. Raises `InputError`."""
    content = images.content(path)
    try:
        return without_bad_metadata(content, str(path), partial(_labels, path=path))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: cannot be read as an image: {' '.join(str(error).split())}") from None


def _labels(content: bytes, path: Path) -> Labels:
    with open_image(content, str(path)) as image:
        image.load()
        if image.mode not in ("P", "L", "1"):
            raise InputError(f"{path}: labels are indexed or grey, not {image.mode}")
        grey = image if image.mode != "1" else image.convert("L")
        return np.array(grey, np.uint8)


def refuse_other_size(rgb: RGB, size: tuple[int, int], pair: Pair) -> None:
    """Raise `InputError` unless a photo has the size (height, width; px) of its ground truth."""
    height, width = rgb.shape[:2]
    if (height, width) != size:
        raise InputError(f"{pair.image}: {width} × {height} px, but {size[1]} × {size[0]} px in {pair.truth}")


def _by_stem(folder: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in images.EXTENSIONS or path.name.startswith("."):
            continue
        if (other := paths.setdefault(path.stem, path)) is not path:
            raise InputError(f"{path}: shares its stem with {other.name}")
    return paths


def _there(folder: Path) -> None:
    if not folder.exists():
        raise NothingMatchedError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")


def _folder(folder: Path, name: str) -> Path:
    _there(folder)
    if not (folder / name).is_dir():
        raise InputError(f"{folder}: no folder {name}/ in it")
    return folder / name


def _all_there(paths: Iterable[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f", nor are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: listed, but not there{more}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read: {reason}") from None

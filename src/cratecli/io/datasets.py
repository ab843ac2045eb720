"""List evaluation data sets (folders of pairs, VOC, COCO): their photos, and the files of their truth."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cratecli.errors import InputError, NothingMatchedError
from cratecli.io import images
from cratecli.io.coco_truth import checked_annotations, checked_images

VAL2017 = "instances_val2017.json"

Layout = tuple[str, str]
"""Names of the folder of photos and the folder of masks, which may be one."""

SALIENCY: tuple[Layout, ...] = (
    ("images", "masks"),
    ("DUTS-TE-Image", "DUTS-TE-Mask"),
    ("DUTS-TR-Image", "DUTS-TR-Mask"),
    ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
    ("imgs", "gt"),  # HKU-IS
    ("images", "ground_truth_mask"),  # ECSSD
    ("Imgs", "Imgs"),  # MSRA10K, and others as PoolNet has them
)
PARTS: tuple[Layout, ...] = (("images", "masks_part"),)
"""The layouts of data sets as they unpack."""

_JPEG, _PNG = frozenset({".jpg", ".jpeg"}), frozenset({".png"})


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


def paired(
    folder: Path, layouts: Sequence[Layout], photos: str | None = None, masks: str | None = None
) -> list[Pair]:
    """Pair photos and masks by stem, sorted by name: of the folders named, or of the first of `layouts` that fits.

    A layout may lie in `folder`, or in one folder below it. `photos` and `masks` are seen from `folder`. Where both lie
    in one folder, photos are JPEGs and masks PNGs. Raises `InputError` for a missing folder, for several that fit, and
    for a file without a partner; `NothingMatchedError` for no photo.
    """
    _there(folder)
    place, (photos, masks) = _layout(folder, layouts, photos, masks)
    images_, masks_ = (_innermost(_folder(place, each)) for each in (photos, masks))
    together = images_.resolve() == masks_.resolve()
    pictures = _by_stem(images_, _JPEG if together else images.EXTENSIONS)
    truths = _by_stem(masks_, _PNG if together else images.EXTENSIONS)
    for here, there, what in ((pictures, truths, masks), (truths, pictures, photos)):
        lone = sorted(here.keys() - there.keys())
        if lone:
            more = f", and {len(lone) - 1} others have none" if len(lone) > 1 else ""
            raise InputError(f"{here[lone[0]]}: nothing in {what}/ goes with it{more}")
    if not pictures:
        raise NothingMatchedError(f"no photo in {images_}")
    return [Pair(stem, pictures[stem], truths[stem]) for stem in sorted(pictures)]


def _layout(
    folder: Path, layouts: Sequence[Layout], photos: str | None, masks: str | None
) -> tuple[Path, Layout]:
    """Find where the folders of photos and masks lie, and their names; those that are given are not searched for."""
    if photos is not None and masks is not None:
        return folder, (photos, masks)
    wanted = list(dict.fromkeys((photos or one, masks or other) for one, other in layouts))
    below = [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    for places in ([folder], below):
        found = [(place, each) for place in places for each in wanted if _holds(place, each)]
        several = list(dict.fromkeys(str(place / each[0]) for place, each in found))
        if len(several) > 1:
            raise InputError(
                f"{folder}: holds several data sets ({', '.join(several)}): name one, or --images and --masks"
            )
        if found:
            return found[0]
    known = "; ".join("/ and ".join(dict.fromkeys(each)) + "/" for each in wanted)
    raise InputError(f"{folder}: has no {known} in it: name its folders with --images and --masks")


def _holds(place: Path, layout: Layout) -> bool:
    return all((place / name).is_dir() for name in layout)


def _innermost(folder: Path) -> Path:
    """Go into a folder of the same name, as some archives unpack."""
    return below if (below := folder / folder.name).is_dir() else folder


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
        entries = checked_images(whole["images"])
        annotations = checked_annotations(whole["annotations"], entries)
    except ValueError as error:
        raise InputError(f"{file}: not COCO's annotations: {error}") from None
    except (KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: not COCO's annotations ({type(error).__name__}: {error})") from None
    if not entries:
        raise NothingMatchedError(f"no photo in {file}")
    root = _folder(folder, photos)
    pairs = [Pair(name, root / name, file) for name, _ in entries.values()]
    _all_there(pair.image for pair in pairs)
    return CocoSet(pairs, dict(entries.values()), annotations)


def refuse_other_size(photo: tuple[int, int], size: tuple[int, int], pair: Pair) -> None:
    """Raise `InputError` unless a photo has the size of its ground truth; both are height and width, px."""
    height, width = photo
    if photo != size:
        raise InputError(f"{pair.image}: {width} × {height} px, but {size[1]} × {size[0]} px in {pair.truth}")


def _by_stem(folder: Path, endings: Container[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in endings or path.name.startswith("."):
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

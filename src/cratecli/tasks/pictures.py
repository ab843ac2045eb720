"""What is drawn of a segmented photo, and how it is encoded: options settled, combinations without meaning refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence import matting
from cratecli.emergence.masks import bounding_box
from cratecli.errors import InputError, UsageError
from cratecli.geometry import Box, Size
from cratecli.io import images
from cratecli.io.background import Background, read_background
from cratecli.io.formats import Ending, ending_of, picture
from cratecli.io.formats.picture import Drawn, Kind
from cratecli.runs.plan import means_folder
from cratecli.tasks.options import PictureOptions, check

if TYPE_CHECKING:
    from cratecli.tasks.segment import Segmentation


@dataclass(frozen=True)
class PictureChoice:
    """What is drawn of each photo: see `PictureOptions`; `ending` is the format that it is encoded in."""

    kind: Kind
    ending: Ending = "png"
    background: Background | None = None
    crop: bool = False
    margin: float = 0.0
    matting: bool = False

    def as_data(self) -> dict[str, Any]:
        """Give the options that were asked for, as provenance has them."""
        ground = self.background
        return {
            "as_": self.kind,
            "background": ground and ground.named,
            "background_sha256": ground and ground.sha256,
            "crop": self.crop or None,
            "margin": self.margin or None,
            "matting": self.matting or None,
        }


def choose_ending(output: str | None, asked: Ending | None, kind: str, *, clear: bool = False) -> Ending:
    """Settle the format of pictures, from the output's name or as `asked`: PNG, if neither says.

    Raises `UsageError` where they disagree, and for a format that cannot hold the kind, or what is `clear`.
    """
    named = None if output is None or means_folder(output) else ending_of(output)
    if named and asked and named != asked:
        raise UsageError(f"{output} does not end with .{asked}, as --ending says: leave one out")
    ending = asked or named or "png"
    exact = kind in ("mask", "soft", "soft16", "labels")
    if ending == "jpg" and exact:
        raise UsageError(f"JPEG alters {kind} pictures: let names end with .png{_OR_WEBP.get(kind, '')}")
    if ending == "webp" and kind in ("soft16", "labels"):
        raise UsageError(f"WebP cannot hold {kind} pictures: let names end with .png")
    if ending == "jpg" and clear:
        raise UsageError(
            "JPEG has no transparency: give --background COLOUR, or let names end with .png or .webp"
        )
    return ending


_OR_WEBP = {"mask": " or .webp", "soft": " or .webp"}


def choose_picture(
    kind: Kind | None, asked: PictureOptions, output: str | None = None, ending: Ending | None = None
) -> PictureChoice:
    """Settle what is drawn, for an output of a name, and read the background.

    If no kind is named, it is the mask, or the cut-out that options are for. Raises `UsageError` for options that mean
    nothing for it, and `InputError` for a background that cannot be read.
    """
    given = check(PictureOptions, {name: value for name, value in asked.items() if value is not None})
    if "margin" in given and not given.get("crop"):
        raise UsageError("--margin is room around what is cropped: give --crop too")
    of_cutouts = [f"--{name}" for name in ("background", "matting") if given.get(name)]
    kind = kind or ("cutout" if of_cutouts else "mask")
    if of_cutouts and kind != "cutout":
        raise UsageError(f"{of_cutouts[0]} is of cut-outs, not of {kind} pictures: give --as cutout")
    written = choose_ending(output, ending, kind, clear=kind == "cutout" and "background" not in given)
    if given.get("matting") and not matting.can_matte():
        raise UsageError(matting.NEEDS_EXTRA)
    if (ground := given.pop("background", None)) is not None:
        given["background"] = read_background(ground)
    return PictureChoice(kind, written, **given)


def refuse_pictures(asked: PictureOptions, ending: Ending | None) -> None:
    """Raise `UsageError` for options of pictures where one file of annotations is written."""
    if flags := [f"--{name}" for name, value in {**asked, "ending": ending}.items() if value]:
        raise UsageError(f"{flags[0]} is of pictures: a COCO file has none, and describes whole photos")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a photo, and the box of the photo that it shows, if it is cropped."""

    pixels: Drawn
    box: Box | None = None


def draw_picture(
    rgb: RGB,
    mask: Mask,
    soft: Soft,
    choice: PictureChoice,
    name: str,
    *,
    rgba: np.ndarray | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Picture:
    """Draw a photo's mask as chosen; `rgba` are the colours of a photo that has alpha. An empty mask is not cropped.

    `note` is told what takes long. Raises `InputError`, which `name` stands in.
    """
    alpha, box = None, bounding_box(mask) if choice.crop else None
    if choice.matting:
        try:
            rgb, alpha = matting.matte(rgb, mask, note)
        except ValueError as error:
            raise InputError(f"{name}: its edges cannot be softened ({error}): leave --matting out") from None
        box = bounding_box(np.round(alpha * 255) > 0) if choice.crop else None
    pixels = picture.draw(rgb, mask, soft, choice.kind, alpha=alpha, rgba=rgba)
    if choice.background is not None:
        pixels = picture.lay_over(pixels, choice.background.of_size(Size(*mask.shape)))
    if box is not None:
        _, _, width, height = box.xywh
        box = box.grown(round(choice.margin * max(width, height)), Size(*mask.shape))
        pixels = np.ascontiguousarray(pixels[box.slices])
    return Picture(pixels, box)


def draw(
    image: images.PhotoLike,
    result: "Segmentation",
    kind: Kind | None = None,
    **asked: Unpack[PictureOptions],
) -> Drawn:
    """Draw a photo and its `Segmentation` as `crate segment --as` does, as an array.

    `kind` is mask, soft, soft16, cutout or overlay; if it is left out, mask, or cutout where `background` or `matting`
    is asked for. A cut-out has four channels, on a background three. Raises `UsageError` for options that mean nothing
    for the kind, `InputError` for a photo or a background that cannot be read, and `ValueError` for a photo of another
    size.
    """
    choice = choose_picture(kind, asked)
    rgb = images.as_rgb(image)
    if rgb.shape[:2] != result.size:
        raise ValueError(f"a photo of {rgb.shape[:2]} px has no mask of {tuple(result.size)} px")
    return draw_picture(rgb, result.mask, result.soft, choice, "the photo").pixels

"""Composites: sure objects pasted onto object-free grounds, photos whose true masks are known without a label.

Objects are pasted anywhere, partly outside the frame too, so that what learns from composites learns no prior of
place (cut, paste and learn: 1708.01642). Composite `number` of a seed is the same to the byte every time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from cratecli.arrays import RGB, Mask, Soft
from cratecli.emergence.mask_head import resampled
from cratecli.emergence.masks import bounding_box
from cratecli.geometry import Size

SMALLEST = 2  # px: a pasted object has at least so many a side


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object cut out of a photo: the pixels of the box around it, and which of them are the object."""

    rgb: RGB
    mask: Mask


@dataclass(frozen=True)
class Pasting:
    """How objects are pasted; pairs are ranges, in which numbers are drawn evenly.

    `size` is an object's longer side as a share of the frame's; `outside` the most of its height and width, 0–1, that
    lies outside the frame, which happens with probability `cut`. `aspect` is the most by which height and width are
    stretched apart. With probability `shifted` the object's mean colour moves towards the ground's by a share of
    `shift`. `feather` is the standard deviation of the edge's blur, px; `blur` (px, of half the composites) and `noise`
    (levels, 0–255) are those of the whole picture. `counts` are the probabilities of one object, two, and so on.
    """

    size: tuple[float, float] = (0.3, 0.95)
    outside: float = 0.35
    cut: float = 0.5
    aspect: float = 0.15
    shifted: float = 0.5
    shift: tuple[float, float] = (0.3, 0.9)
    feather: tuple[float, float] = (0.4, 1.2)
    blur: tuple[float, float] = (0.0, 0.9)
    noise: tuple[float, float] = (0.0, 6.0)
    window: tuple[float, float] = (0.6, 1.0)
    counts: tuple[float, ...] = (0.65, 0.25, 0.1)


PASTING = Pasting()


@dataclass(frozen=True, eq=False)
class Composite:
    """A picture, and the visible part of every object in it, the first pasted first; none is hidden wholly."""

    rgb: RGB
    masks: Bool[np.ndarray, "objects height width"]

    @property
    def mask(self) -> Mask:
        """Join the objects: the foreground."""
        return np.asarray(self.masks.any(axis=0))


def cut_out(photo: RGB, mask: Mask, longest: int) -> Cutout:
    """Cut an object out of its photo, scaled down to `longest` px at most. Raises `ValueError` for an empty mask."""
    box = bounding_box(mask)
    if box is None:
        raise ValueError("an empty mask has nothing to cut out")
    rgb, inside = np.ascontiguousarray(photo[box.slices]), mask[box.slices]
    scale = min(1.0, longest / max(inside.shape))
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in inside.shape)
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        share = cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        inside = np.asarray(share > 0.5)
    return Cutout(rgb, inside)


def compose(
    objects: Sequence[Cutout],
    grounds: Sequence[RGB],
    size: Size,
    *,
    seed: int,
    number: int,
    count: int | None = None,
    how: Pasting = PASTING,
) -> Composite:
    """Make composite `number` of a seed: objects drawn at random on a ground drawn at random, `size` px.

    `count` objects are pasted, or as many as `how.counts` draws; 0 gives a ground alone.
    """
    random = np.random.default_rng([seed, number])
    canvas = _ground(grounds[int(random.integers(len(grounds)))], size, random, how)
    if count is None:
        count = 1 + int(random.choice(len(how.counts), p=np.divide(how.counts, sum(how.counts))))
    masks: list[Mask] = []
    for _ in range(count):
        canvas, pasted = _paste(canvas, objects[int(random.integers(len(objects)))], random, how)
        masks = [*(mask & ~pasted for mask in masks), pasted]
    visible = [mask for mask in masks if mask.any()]
    stacked = np.stack(visible) if visible else np.zeros((0, *size), bool)
    return Composite(_weathered(canvas, random, how), stacked)


def _ground(ground: RGB, size: Size, random: np.random.Generator, how: Pasting) -> Soft:
    """Give a window of a ground, as it is or mirrored, at the frame's size; floats, 0–255."""
    (window,) = _windowed(random, how, ground)
    return resampled(window, size).astype(np.float32)


def _windowed(random: np.random.Generator, how: Pasting, *pictures: np.ndarray) -> list[np.ndarray]:
    """Cut one random window out of pictures of one size, all mirrored or none."""
    height, width = pictures[0].shape[:2]
    tall, wide = (max(1, round(side * random.uniform(*how.window))) for side in (height, width))
    top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
    windows = [each[top : top + tall, left : left + wide] for each in pictures]
    if random.random() < 0.5:
        windows = [each[:, ::-1] for each in windows]
    return [np.ascontiguousarray(each) for each in windows]


def _paste(canvas: Soft, thing: Cutout, random: np.random.Generator, how: Pasting) -> tuple[Soft, Mask]:
    """Paste an object at a random place, and give the picture with the pixels that the object covers."""
    frame = Size(*canvas.shape[:2])
    rgb, inside = thing.rgb, thing.mask
    if random.random() < 0.5:
        rgb, inside = rgb[:, ::-1], inside[:, ::-1]
    stretch = (1 + how.aspect) ** random.uniform(-0.5, 0.5)
    tall, wide = inside.shape[0] * stretch, inside.shape[1] / stretch
    scale = random.uniform(*how.size) / max(tall / frame.height, wide / frame.width)
    size = Size(max(SMALLEST, round(scale * tall)), max(SMALLEST, round(scale * wide)))
    outside = how.outside if random.random() < how.cut else 0.0
    corner = [_place(side, whole, outside, random) for side, whole in zip(size, frame, strict=True)]
    alpha = np.zeros(frame, np.float32)
    colours = np.zeros((*frame, 3), np.float32)
    there, here = zip(*map(_overlap, corner, size, frame), strict=True)
    alpha[there] = resampled(inside.astype(np.float32), size)[here]
    colours[there] = resampled(np.ascontiguousarray(rgb), size)[here]
    if random.random() < how.shifted and (covered := alpha > 0.5).any():
        towards = canvas.mean(axis=(0, 1)) - colours[covered].mean(axis=0)
        colours = np.clip(colours + random.uniform(*how.shift) * towards, 0, 255)
    # Outwards the object has no pixels of its own: the edge is feathered inwards.
    feathered = cv2.GaussianBlur(alpha, (0, 0), random.uniform(*how.feather), borderType=cv2.BORDER_REPLICATE)
    soft = np.minimum(alpha, np.clip(2 * feathered - 0.5, 0, 1))[..., None]
    pasted = soft[..., 0] > 0.5
    return (1 - soft) * canvas + soft * colours, pasted


def _place(side: int, whole: int, outside: float, random: np.random.Generator) -> int:
    """Draw where an object begins along one axis, px; `outside` of it, 0–1, at most beyond the frame."""
    beyond = round(outside * side)
    return int(random.integers(-beyond, max(1 - beyond, whole - side + beyond + 1)))


def _overlap(start: int, side: int, whole: int) -> tuple[slice, slice]:
    """Give the part of the frame that an object lies in, and the part of the object in the frame."""
    first, last = max(0, start), min(whole, start + side)
    return slice(first, last), slice(first - start, last - start)


def _weathered(canvas: Soft, random: np.random.Generator, how: Pasting) -> RGB:
    """Blur half the pictures and give all noise, so that nothing pasted is told by its grain."""
    if random.random() < 0.5 and (blur := random.uniform(*how.blur)) > 0:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
    noise = random.normal(0, random.uniform(*how.noise), canvas.shape)
    return np.asarray(np.clip(np.rint(canvas + noise), 0, 255), np.uint8)

"""Pack arrays into JSON that a page unpacks: whole numbers of 14 bits, deflated, and masks as runs."""

import zlib
from base64 import b64encode

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import BaseModel

from cratecli.arrays import Mask

STEPS = (
    8191  # a head's largest token in these units: attention errs by 5e-4 of the largest, of float16 by 1.4e-3
)
LEVEL = 1  # of deflate: more takes twice the time and saves 1 %


class Packed(BaseModel):
    """Tokens as whole numbers of 16 bits, low bytes before high ones, deflated, in base64; `layers k n p`.

    A number times its layer's and head's scale is the value.
    """

    scale: list[list[float]]
    data: str


def pack(tokens: Float[np.ndarray, "layers k n p"]) -> Packed:
    """Round tokens to `STEPS` steps a layer and head, and pack them."""
    scale = np.maximum(np.abs(tokens).max(axis=(2, 3)), 1e-12) / STEPS
    numbers = np.rint(tokens / scale[:, :, None, None]).astype("<i2")
    planes = numbers.reshape(-1).view(np.uint8).reshape(-1, 2).T
    deflated = zlib.compress(np.ascontiguousarray(planes).tobytes(), LEVEL)
    return Packed(scale=[[float(f"{each:.7g}") for each in row] for row in scale], data=text_of(deflated))


def text_of(content: bytes) -> str:
    """Write bytes as base64."""
    return b64encode(content).decode("ascii")


def levels(values: Float[np.ndarray, "*shape"]) -> str:
    """Write values in 0–1 as bytes, 0–255, in base64."""
    rounded: UInt8[np.ndarray, "*shape"] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return text_of(rounded.tobytes())


def runs(mask: Mask) -> list[int]:
    """Write a mask, which has pixels, as the lengths of its runs, row by row; the first is of pixels outside.

    >>> runs(np.array([[False, True], [True, False]]))
    [1, 2, 1]
    """
    flat = mask.reshape(-1)
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff(np.concatenate([[0], turns, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths

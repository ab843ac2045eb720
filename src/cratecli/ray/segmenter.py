"""Masks in a pipeline of Ray Data: a class for `Dataset.map_batches`. Imports neither Ray nor torch by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from cratecli.errors import CrateError
from cratecli.tasks.options import SegmentOptions


class Segmenter:
    """Segments the photos of a column, and adds columns to each batch; the model is loaded once an actor.

    `ray.data.read_parquet("photos/").map_batches(Segmenter, fn_constructor_kwargs={"column": "image"}, concurrency=2)`

    A cell is the bytes of a photo, a struct of `bytes`, as Hugging Face writes it, or an upright RGB array, 0–255.
    `model` is what `load_model` takes, on `device` in `dtype`; `batch_size` photos go through it together. The options
    are those of `segment`. Raises what `load_model` raises, and `UsageError` for an option that makes no sense.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        column: str = "image",
        batch_size: int = 8,
        device: str = "auto",
        dtype: str = "auto",
        **asked: Unpack[SegmentOptions],
    ) -> None:
        """Load the model."""
        from cratecli.tasks.recipes import choose_recipe
        from cratecli.weights.checkpoint import load_model

        self._model = load_model(model, device=device, dtype=dtype)
        self._column, self._batch_size, self._asked = column, batch_size, asked
        choose_recipe(self._model, **asked)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give a batch with the columns `height`, `width`, `empty`, `confidence`, `area`, `rle` and `error`.

        `rle` is COCO's text of the mask's run lengths. A photo that fails has an `error`; its other columns are 0, or
        empty. Raises `KeyError` for a batch without the column.
        """
        from cratecli.tasks.segment import segment_many

        photos = [_content(cell) for cell in batch[self._column]]
        asked: Any = self._asked
        done = segment_many(photos, self._model, batch_size=self._batch_size, errors="return", **asked)
        rows = [_row(each) for each in done]
        kinds = {
            "height": np.int32,
            "width": np.int32,
            "area": np.int64,
            "confidence": np.float64,
            "empty": bool,
        }
        added = {name: np.array([row[name] for row in rows], kinds.get(name, object)) for name in _FAILED}
        return dict(batch) | added


_FAILED: Mapping[str, Any] = {
    **{"height": 0, "width": 0, "empty": True, "confidence": 0.0, "area": 0, "rle": "", "error": ""}
}
"""The columns that are added, with what stands in those of a photo that failed."""


def _row(result: Any) -> dict[str, Any]:
    from cratecli.io.formats.record import annotate

    if isinstance(result, CrateError):
        return {**_FAILED, "error": str(result)}
    return {
        **_FAILED,
        "height": result.size.height,
        "width": result.size.width,
        "empty": result.empty,
        "confidence": round(result.confidence, 4),
        "area": result.area,
        "rle": annotate(result.mask, 1.0).rle["counts"],
    }


def _content(cell: Any) -> Any:
    """Take a photo out of a cell; what is none raises where it is read."""
    if isinstance(cell, Mapping):
        return cell.get("bytes")
    if isinstance(cell, bytearray | memoryview):
        return bytes(cell)
    return cell

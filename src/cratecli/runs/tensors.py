"""Photos as tensors, for who calls a white box of torch's himself."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from cratecli.arrays import RGB
from cratecli.errors import UsageError
from cratecli.geometry import Grid, Size, fit_grid
from cratecli.io import images
from cratecli.model.engine import Model
from cratecli.model.unroll import WhiteBox


def prepare(
    image: images.PhotoLike, model: WhiteBox, size: int | None = None
) -> Float[torch.Tensor, "1 3 h w"]:
    """Make a photo into what `model.unroll` takes: on the patch grid, normalised, on the model's device.

    `size` is the input's short side in px; none is the model's own. The aspect is kept to the nearest patch.
    """
    rgb = images.as_rgb(image)
    grid = fit_grid(Size(*rgb.shape[:2]), size or model.image_size, model.patch_size)
    return model_inputs([rgb], grid, model)


def model_inputs(photos: Sequence[RGB], grid: Grid, model: WhiteBox) -> torch.Tensor:
    """Fit photos to one grid, as a batch on the model's device and in its number format."""
    fitted = np.stack([images.fit(photo, grid, model.patch_size, model.mean, model.std) for photo in photos])
    return as_inputs(fitted, model)


def as_inputs(fitted: np.ndarray, model: Model) -> torch.Tensor:
    """Bring fitted photos to the model's device and number format; a GPU fetches them while this process goes on."""
    parameter = next(white_box(model).parameters())
    batch = torch.from_numpy(fitted)
    if parameter.device.type == "cuda":
        batch = batch.pin_memory()
    return batch.to(parameter.device, non_blocking=True).to(parameter.dtype)


def white_box(model: Model) -> WhiteBox:
    """Take a model of torch's. Raises `UsageError` for an ONNX graph, which cannot be unrolled."""
    if isinstance(model, WhiteBox):
        return model
    raise UsageError(
        f"{model.weights and model.weights.name} is an ONNX graph, and this needs the model itself"
    )

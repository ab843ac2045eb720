"""The arrays that rooms hand to one another, each named once: photos, masks, soft maps, labels."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

RGB = UInt8[np.ndarray, "height width 3"]
"""An upright photo: red, green, blue, 0–255."""

Mask = Bool[np.ndarray, "height width"]
"""A binary mask at a photo's upright size: true inside the object."""

Soft = Float[np.ndarray, "height width"]
"""A soft mask, 0–1: how far a pixel belongs to the object."""

Labels = UInt8[np.ndarray, "height width"]
"""A label a pixel: 0 is the ground."""

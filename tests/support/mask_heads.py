"""Mask heads and what they learn from, small enough for tests: discs on plain grounds."""

from pathlib import Path

import numpy as np
from PIL import Image

from cratecli.arrays import RGB
from cratecli.model.head_inputs import MaskHeadConfig
from cratecli.model.mask_head import MaskHead
from cratecli.model.unroll import WhiteBox
from cratecli.training.composites import Cutout
from cratecli.training.head_lesson import COMPOSITES, PHOTOS
from cratecli.training.material import Material
from cratecli.training.pool import Pool, seal
from cratecli.training.projection import Projection
from cratecli.weights.mask_heads import store_head


def disc_photo(seed: int, height: int = 72, width: int = 96) -> RGB:
    """Paint a bright disc near the middle of a dark ground, with grain."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    row, col = height // 2 + random.integers(-6, 7), width // 2 + random.integers(-14, 15)
    disc = (rows - row) ** 2 + (cols - col) ** 2 <= random.integers(12, 17) ** 2
    pixels = np.where(disc[..., None], random.integers(150, 256, 3), random.integers(40, 110, 3))
    return np.asarray(np.clip(pixels + random.normal(0, 4, pixels.shape), 0, 255), np.uint8)


def disc_photos(folder: Path, count: int, height: int = 72, width: int = 96) -> list[Path]:
    """Write so many of them as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(disc_photo(number, height, width)).save(path)
    return paths


def painted_material(count: int = 6) -> Material:
    """Make bright squares and dark grounds."""
    random = np.random.default_rng(0)
    bright = [np.full((12, 12, 3), random.integers(150, 256, 3), np.uint8) for _ in range(count)]
    dark = [np.full((24, 24, 3), random.integers(0, 100, 3), np.uint8) for _ in range(count)]
    return Material([Cutout(each, np.ones((12, 12), bool)) for each in bright], dark, photos=count)


def painted_pool(folder: Path, config: MaskHeadConfig, patch_size: int, count: int = 6) -> Pool:
    """Make a pool of photos of bright squares, half sure, and of composites; features are noise but for one channel."""
    random = np.random.default_rng(0)
    channels = len(config.layers) * config.token_width
    basis = random.normal(size=(channels, 4)).astype(np.float32)
    pool = Pool(folder, config, patch_size, Projection(basis, basis))
    for kind, weight in ((PHOTOS, 0.5), (COMPOSITES, 1.0)):
        for grid in pool.grids:
            records = []
            for _ in range(count):
                record = np.zeros((), pool.record(grid))
                for name in ("tokens", "maps", "fine_tokens", "fine_maps"):
                    record[name] = random.integers(-20, 20, record[name].shape)
                rows, cols = record["mask"].shape
                record["mask"][rows // 4 : rows // 2, cols // 4 : -cols // 4] = 255
                record["votes"] = record["mask"] // 2 + random.integers(0, 60, record["votes"].shape)
                record["photo"] = 40 + 200 * (record["mask"].repeat(2, axis=0).repeat(2, axis=1) > 0)
                record["weight"] = weight
                seal(record)
                records.append(record)
            pool.append(kind, {grid: records})
    return pool


def head_config(model: WhiteBox, *, token_width: int, **more: object) -> MaskHeadConfig:
    """Describe a narrow head that reads what `segment` asks a small model."""
    fields = {"sizes": (16, 24, 48), "size": 16, "width": 32} | more
    return MaskHeadConfig.from_dict(
        {
            "model_sha256": model.weights_digest(),
            "layers": (0, 1, 2),
            "heads": model.heads,
            "token_width": token_width,
        }
        | fields
    )


def stored_head(path: Path, config: MaskHeadConfig) -> MaskHead:
    """Write a head with random weights, as float32."""
    head = MaskHead(config).eval().requires_grad_(False)
    store_head(path, config, head.state_dict(), "float32")
    return head

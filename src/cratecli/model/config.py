"""The config of a CRATE, and the named architectures, as data. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import wraps
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from cratecli.errors import validation_message

Attention = Literal["mssa", "mhsa"]
Sparsifier = Literal["ista", "soft-ista", "odl", "mlp"]
Stem = Literal["linear", "conv"]

# The upper bounds are beyond any model, but not beyond what a broken file may ask for.
_Size = Annotated[int, Field(strict=True, ge=1, le=65_536)]
_Depth = Annotated[int, Field(strict=True, ge=1, le=1024)]
_Classes = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
_Flag = Annotated[bool, Field(strict=True)]
_Constant = Annotated[float, Field(strict=True, ge=0, le=1e9)]
_Shift = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)]
_Scale = Annotated[float, Field(strict=True, gt=0, le=1e9)]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_Class = TypeVar("_Class")


def _refuse_in_one_line(cls: type[_Class]) -> type[_Class]:
    """Let a pydantic dataclass raise a `ValueError` of one line, where pydantic's own has many."""
    init = cls.__init__

    @wraps(init)
    def checked(self: _Class, *args: Any, **fields: Any) -> None:
        try:
            init(self, *args, **fields)
        except ValidationError as error:
            raise ValueError(validation_message(error)) from None

    cls.__init__ = checked  # type: ignore[assignment]
    return cls


@_refuse_in_one_line
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CrateConfig:
    """Describe one CRATE: sizes, blocks and constants. Raises `ValueError` for what no forward pass could run.

    `patch_size` and `image_size` are in px. Width is a multiple of heads, image size of patch size.
    `step_size` (η) and `sparsity_weight` (λ) cannot be read from a checkpoint, nor can `heads`.
    `classes = 0` means no classifier; `pre_logits` is the demo checkpoint's linear map before it.
    `mean` and `std` normalise the red, green and blue channels, 0–1.
    """

    patch_size: _Size
    width: _Size
    heads: _Size
    depth: _Depth
    image_size: _Size = 224
    classes: _Classes = 1000
    attention: Attention = "mssa"
    sparsifier: Sparsifier = "ista"
    stem: Stem = "linear"
    output_bias: _Flag = True
    pre_logits: _Flag = False
    step_size: _Constant = 0.1
    sparsity_weight: _Constant = 0.1
    layer_norm_eps: _Constant = 1e-5
    final_norm_eps: _Constant = 1e-5
    mean: tuple[_Shift, _Shift, _Shift] = IMAGENET_MEAN
    std: tuple[_Scale, _Scale, _Scale] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Check the sizes against each other."""
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image size {self.image_size} is not a multiple of patch size {self.patch_size}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, as stored in a checkpoint's metadata; `from_dict` reads it back."""
        return asdict(self)

    def for_timm(self) -> dict[str, Any]:
        """Describe inputs and classifier as timm's `pretrained_cfg` does."""
        return {
            "input_size": (3, self.image_size, self.image_size),
            "num_classes": self.classes,
            "mean": self.mean,
            "std": self.std,
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "classifier": "head",
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CrateConfig":
        """Build from plain data. Raises `ValueError` for unknown, missing or unfit fields."""
        return cls(**values)


class _Sizes(TypedDict):
    width: int
    heads: int
    depth: int


_TINY: _Sizes = {"width": 384, "heads": 6, "depth": 12}
_SMALL: _Sizes = {"width": 576, "heads": 12, "depth": 12}
_BASE: _Sizes = {"width": 768, "heads": 12, "depth": 12}
_LARGE: _Sizes = {"width": 1024, "heads": 16, "depth": 24}


def _alpha(size: _Sizes, patch_size: int, **changes: Any) -> CrateConfig:
    """Compose CRATE-α (2405.20299): convolution stem, ODL, LayerNorm eps 1e-6 in the layers."""
    alpha = CrateConfig(
        patch_size=patch_size, **size, stem="conv", sparsifier="odl", output_bias=False, layer_norm_eps=1e-6
    )
    return replace(alpha, **changes)


_NANO = CrateConfig(image_size=64, patch_size=8, width=192, heads=6, depth=8, classes=120)

ARCHITECTURES: Mapping[str, CrateConfig] = {
    "crate_nano_patch8_64": _NANO,
    "crate_nano_patch8_96": replace(_NANO, image_size=96),
    "crate_tiny_patch16_224": CrateConfig(patch_size=16, **_TINY),
    "crate_small_patch16_224": CrateConfig(patch_size=16, **_SMALL),
    "crate_base_patch16_224": CrateConfig(patch_size=16, **_BASE),
    "crate_large_patch16_224": CrateConfig(patch_size=16, **_LARGE),
    "crate_small_patch8_224": CrateConfig(patch_size=8, width=384, heads=6, depth=12),
    "crate_base_patch8_224": CrateConfig(patch_size=8, **_BASE),
    "crate_base_demo_patch8_224": CrateConfig(
        patch_size=8, width=768, heads=6, depth=12, classes=21842, pre_logits=True
    ),
    "crate_alpha_base_patch8_224": _alpha(_BASE, 8),
    "crate_alpha_base_patch16_224": _alpha(_BASE, 16),
    "crate_alpha_base_patch32_224": _alpha(_BASE, 32),
    "crate_alpha_large_patch8_224": _alpha(_LARGE, 8),
    "crate_alpha_large_patch14_224": _alpha(_LARGE, 14),
    "crate_alpha_large_patch32_224": _alpha(_LARGE, 32),
    "crate_hybrid_base_patch32_224": _alpha(_BASE, 32, sparsifier="ista", layer_norm_eps=1e-5),
    "crate_mae_base_patch16_224": CrateConfig(
        patch_size=16, **_BASE, stem="conv", classes=0, sparsity_weight=0.5, final_norm_eps=1e-6
    ),
}
"""The named sizes, by timm-style name. Each is also registered with timm, by `cratecli.model.zoo`."""

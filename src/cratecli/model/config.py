"""What a CRATE is made of, as data: the frozen config, and the named architectures. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from reprlib import repr as short
from typing import Any, Literal, TypedDict, get_args, get_origin

Attention = Literal["mssa", "mhsa"]
Sparsifier = Literal["ista", "soft-ista", "odl", "mlp"]
Stem = Literal["linear", "conv"]

_PLAIN: Mapping[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
_LARGEST = {"depth": 1024, "classes": 1_000_000}  # what no model has, but a broken file may ask for
_LARGEST_SIZE, _LARGEST_NUMBER = 65_536, 1e9

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class CrateConfig:
    """Describe one CRATE: sizes, blocks and constants.

    Width is a multiple of heads, image size of patch size.
    `step_size` (η) and `sparsity_weight` (λ) cannot be read from a checkpoint, nor can `heads`.
    `classes = 0` means no classifier; `pre_logits` is the demo checkpoint's linear map before it.
    """

    patch_size: int
    width: int
    heads: int
    depth: int
    image_size: int = 224
    classes: int = 1000
    attention: Attention = "mssa"
    sparsifier: Sparsifier = "ista"
    stem: Stem = "linear"
    output_bias: bool = True
    pre_logits: bool = False
    step_size: float = 0.1
    sparsity_weight: float = 0.1
    layer_norm_eps: float = 1e-5
    final_norm_eps: float = 1e-5
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuse, by `ValueError`, what no forward pass could run."""
        for field in fields(self):
            value, kind = getattr(self, field.name), field.type
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise ValueError(f"{field.name} is {short(value)}, not one of {', '.join(get_args(kind))}")
            if kind in _PLAIN:
                number = isinstance(value, int if kind is int else int | float)
                if not number or isinstance(value, bool) != (kind is bool):
                    raise ValueError(f"{field.name} is {short(value)}, not {_PLAIN[kind]}")
            if kind is int and value < (0 if field.name == "classes" else 1):
                raise ValueError(f"{field.name} is {short(value)}: too small")
            if kind is int and value > _LARGEST.get(field.name, _LARGEST_SIZE):
                raise ValueError(f"{field.name} is {short(value)}: too large")
            if kind is float and not 0 <= value <= _LARGEST_NUMBER:
                raise ValueError(f"{field.name} is {short(value)}, not between 0 and {_LARGEST_NUMBER:g}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image size {self.image_size} is not a multiple of patch size {self.patch_size}"
            )
        for name in ("mean", "std"):
            triple = getattr(self, name)
            if not isinstance(triple, tuple) or len(triple) != 3 or not all(map(_is_number, triple)):
                raise ValueError(f"{name} is {short(triple)}, not three numbers")
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}: not positive")

    def to_dict(self) -> dict[str, Any]:
        """Give plain data, as stored in a checkpoint's metadata; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CrateConfig":
        """Build from plain data. Raises `ValueError` for unknown, missing or unfit fields."""
        kinds = {field.name: field.type for field in fields(cls)}
        if unknown := sorted(set(values) - set(kinds)):
            raise ValueError(f"unknown field {', '.join(unknown[:6])[:200]}")
        plain: dict[str, Any] = {}
        for name, value in values.items():
            number = _as_float(value) if kinds[name] is float else value
            plain[name] = tuple(map(_as_float, value)) if isinstance(value, list) else number
        try:
            return cls(**plain)
        except TypeError as error:
            raise ValueError(str(error).removeprefix("CrateConfig.__init__() ")) from None


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= _LARGEST_NUMBER


def _as_float(value: Any) -> Any:
    """Take a whole number where a number will do."""
    return float(value) if _is_number(value) else value


class _Size(TypedDict):
    width: int
    heads: int
    depth: int


_TINY: _Size = {"width": 384, "heads": 6, "depth": 12}
_SMALL: _Size = {"width": 576, "heads": 12, "depth": 12}
_BASE: _Size = {"width": 768, "heads": 12, "depth": 12}
_LARGE: _Size = {"width": 1024, "heads": 16, "depth": 24}


def _alpha(size: _Size, patch_size: int, **changes: Any) -> CrateConfig:
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

"""How a model is trained, as data: one frozen recipe, from a name or a TOML file, and the changes to it."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from cratecli.errors import UsageError
from cratecli.files import read_text_bytes
from cratecli.model.config import ARCHITECTURES, CrateConfig

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_FIXED = ("mean", "std")  # settings of the model that no text changes


def _read_model(table: object) -> CrateConfig:
    """Build a config from an `architecture` by name, fields of `CrateConfig`, or both. Raises `ValueError`."""
    if isinstance(table, CrateConfig):
        return table
    if not isinstance(table, Mapping):
        raise ValueError("model is not a table")
    fields = dict(table)
    if "architecture" in fields:
        name = fields.pop("architecture")
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise ValueError(f"architecture {short(name)} is not one of {', '.join(ARCHITECTURES)}")
        fields = ARCHITECTURES[name].to_dict() | fields
    return CrateConfig.from_dict(fields)


LearningRate = Annotated[float, Field(gt=0, le=100, description="At its peak, after the warm-up.")]
WarmupEpochs = Annotated[
    float, Field(ge=0, le=1e5, description="Passes over which the learning rate rises linearly.")
]
ClipNorm = Annotated[float, Field(ge=0, le=1e6, description="Largest norm of the gradient; 0 for no limit.")]
Ema = Annotated[
    float,
    Field(ge=0, le=0.999999, description="Decay a step of the weights' moving average; 0 for no average."),
]
Stored = Annotated[
    Literal["float32", "float16"], Field(description="Number format of the checkpoint's weights.")
]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LearningRecipe:
    """What every kind of training decides: how long, in what batches, by which optimiser and schedule.

    Raises `UsageError` for a setting that is out of range or of another type.
    """

    epochs: float = Field(default=90.0, gt=0, le=1e5, description="Passes over the training data.")
    batch_size: int = Field(default=512, ge=1, le=1_000_000, description="Images a step, over all processes.")
    optimizer: Literal["lion", "adamw"] = Field(default="adamw", description="By timm's name.")
    learning_rate: LearningRate = 1e-3
    weight_decay: float = Field(
        default=0.05,
        ge=0,
        le=100,
        description="Of weight matrices; biases, norms and positions do not decay.",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Of the learning rate, after the warm-up."
    )
    warmup_epochs: WarmupEpochs = 0.0
    clip_norm: ClipNorm = 0.0
    ema: Ema = 0.0
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Of first weights, order of images and augmentation."
    )
    stored: Stored = "float32"

    @model_validator(mode="wrap")
    @classmethod
    def _refuse(cls, values: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return check(values)
        except ValidationError as error:
            raise UsageError(_first(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that the recipe takes as keywords."""
        plain: dict[str, Any] = TypeAdapter(type(self)).dump_python(self)
        return plain

    def to_toml(self) -> str:
        """Write it as a file from which it is read again."""
        return tomli_w.dumps(self.to_dict())

    def settings(self) -> list[str]:
        """Name what can be changed."""
        return list(self.to_dict())

    def changed(self, changes: Mapping[str, str]) -> Self:
        """Replace settings by name; values are text.

        Raises `UsageError` for a setting that is unknown, out of range or of another type.
        """
        values = self.to_dict()
        for name, text in changes.items():
            if name not in values:
                raise UsageError(f"unknown setting {name!r}; there are {', '.join(self.settings())}")
            values[name] = text if isinstance(values[name], str) else read_value(text)
        return type(self)(**values)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainRecipe(LearningRecipe):
    """Everything that, with data and seed, decides the outcome of a training run.

    Raises `UsageError` for a setting that is out of range or of another type.
    """

    model: Annotated[CrateConfig, BeforeValidator(_read_model)] = Field(
        description="Sizes, blocks and constants."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, le=0.99, description="Share of the target, 0-1, that is spread over all classes."
    )
    drop_patches: float = Field(
        default=0.0, ge=0, le=0.95, description="Share of an image's patches, 0-1, that a step does not show."
    )
    full_epochs: float = Field(
        default=0.0, ge=0, le=1e5, description="Passes at the end that show every patch."
    )
    crop: Literal["rrc", "rkrc", "rkrr"] = Field(
        default="rrc", description="By timm's name: random size and place, the centre, or a random place."
    )
    crop_area: float = Field(
        default=0.08,
        ge=0.001,
        le=1,
        description="Least share of the image's area, 0-1, in a crop of random size.",
    )
    flip: float = Field(default=0.5, ge=0, le=1, description="Probability, 0-1, that an image is mirrored.")
    colour_jitter: float = Field(
        default=0.0, ge=0, le=10, description="timm's strength; `auto_augment` switches it off."
    )
    auto_augment: str = Field(
        default="", description="timm's policy, such as rand-m9-mstd0.5; empty for none."
    )
    mixup: float = Field(default=0.0, ge=0, le=100, description="timm's alpha; 0 for no mixup.")
    cutmix: float = Field(default=0.0, ge=0, le=100, description="timm's alpha; 0 for no CutMix.")

    def __post_init__(self) -> None:
        if self.batch_size % 2 and (self.mixup or self.cutmix):
            raise UsageError("mixup and cutmix pair the images of a batch: batch_size must be even")

    def changed(self, changes: Mapping[str, str]) -> Self:
        """Replace settings by name, the model's too; values are text.

        An `architecture` replaces the whole model, and then its other settings are changed.
        Raises `UsageError` for a setting that is unknown, out of range or of another type.
        """
        values = self.to_dict()
        model = values.pop("model")
        names = [*values, *(name for name in model if name not in _FIXED)]
        if "architecture" in changes:
            model = {"architecture": changes["architecture"]}
        for name, text in changes.items():
            if name == "architecture":
                continue
            if name not in names:
                raise UsageError(f"unknown setting {name!r}; there are architecture, {', '.join(names)}")
            table = values if name in values else model
            table[name] = read_value(text)
        return type(self)(model=model, **values)


def read_recipe(name_or_file: str) -> TrainRecipe:
    """Read a recipe that comes with the package, by its name, or a TOML file. Raises `UsageError`."""
    known = tomllib.loads(resources.files("cratecli.training").joinpath("recipes.toml").read_text("utf-8"))
    if name_or_file in known:
        return parse_recipe(known[name_or_file], f"recipe {name_or_file}")
    try:
        values = tomllib.loads(read_text_bytes(Path(name_or_file)).decode())
    except FileNotFoundError:
        raise UsageError(
            f"no recipe or file is named {short(name_or_file)}; the recipes are {', '.join(known)}"
        ) from None
    except OSError as error:
        raise UsageError(f"{name_or_file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # broken TOML, no text, or nested for ever
        raise UsageError(f"{name_or_file}: is not TOML: {error}") from None
    return parse_recipe(values, name_or_file)


def parse_recipe(values: Mapping[str, Any], where: str) -> TrainRecipe:
    """Build a recipe from a table; `model` holds an architecture's name, fields of `CrateConfig`, or both.

    Raises `UsageError`, which says `where`.
    """
    try:
        return TrainRecipe(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def read_value(text: str) -> int | float | bool | str:
    """Read a number, or true or false, where a text is one."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _first(error: ValidationError) -> str:
    """Say in a line what is wrong with the first setting that is."""
    wrong = error.errors(include_url=False)[0]
    name = ".".join(map(str, wrong["loc"]))
    match wrong["type"]:
        case "missing":
            return f"{name} is missing"
        case "unexpected_keyword_argument":
            return f"unknown setting {name}"
        case "value_error":
            return " ".join(str(wrong["ctx"]["error"]).split())
    return f"{name} is {short(wrong['input'])}: it {wrong['msg'].removeprefix('Input ')}"

"""How a model is trained, as data: one frozen recipe, from a name or a TOML file, and what is changed in it."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from reprlib import repr as short
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from cratecli.errors import UsageError
from cratecli.model.config import ARCHITECTURES, CrateConfig

_RANGES = {
    "epochs": (0.0, 1e5),
    "batch_size": (1, 1_000_000),
    "learning_rate": (0.0, 100.0),
    "weight_decay": (0.0, 100.0),
    "warmup_epochs": (0.0, 1e5),
    "clip_norm": (0.0, 1e6),
    "ema": (0.0, 0.999999),
    "label_smoothing": (0.0, 0.99),
    "drop_patches": (0.0, 0.95),
    "full_epochs": (0.0, 1e5),
    "crop_area": (0.001, 1.0),
    "flip": (0.0, 1.0),
    "colour_jitter": (0.0, 10.0),
    "mixup": (0.0, 100.0),
    "cutmix": (0.0, 100.0),
}
_MODEL = tuple(field.name for field in fields(CrateConfig))
_TRIPLES = ("mean", "std")  # which no text can change


@dataclass(frozen=True)
class TrainRecipe:
    """How to train: everything that, with data and seed, decides what comes out.

    `batch_size` counts the images of one step, over all processes. `learning_rate` is the peak, after a linear rise
    of `warmup_epochs`; `ema` is the decay of the weights' moving average a step, 0 for none; `clip_norm` bounds the
    gradient's norm, 0 does not. Of each image `drop_patches`, a share, is not shown, but for the last `full_epochs`.
    `crop` is timm's: `rrc` takes at least `crop_area` of the image, `rkrc` the centre, `rkrr` a random place; `flip`
    is a probability, `colour_jitter`, `auto_augment` (which leaves no jitter), `mixup` and `cutmix` are timm's.
    `stored` is the number format of the checkpoint. Raises `UsageError` for what makes no sense.
    """

    model: CrateConfig
    epochs: float = 90.0
    batch_size: int = 512
    optimizer: Literal["lion", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    label_smoothing: float = 0.0
    drop_patches: float = 0.0
    full_epochs: float = 0.0
    crop: Literal["rrc", "rkrc", "rkrr"] = "rrc"
    crop_area: float = 0.08
    flip: float = 0.5
    colour_jitter: float = 0.0
    auto_augment: str = ""
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0
    stored: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        """Check every value by itself."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float:  # a whole number will do
                object.__setattr__(self, field.name, float(value))
            least, most = _RANGES.get(field.name, (None, None))
            if least is not None and most is not None and not least <= value <= most:
                raise UsageError(f"{field.name} {value} is not within {least:g} to {most:g}")
            if get_origin(field.type) is Literal and value not in get_args(field.type):
                raise UsageError(f"{field.name} {value!r} is not one of {', '.join(get_args(field.type))}")
        if self.epochs == 0 or self.learning_rate == 0:
            raise UsageError("epochs and learning_rate are positive")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed {self.seed} is not within 0 to 2³² − 1")
        if self.batch_size % 2 and (self.mixup or self.cutmix):
            raise UsageError("mixup and cutmix pair the images of a batch: its size must be even")

    def changed(self, changes: Mapping[str, str]) -> "TrainRecipe":
        """Change fields, the model's too, by name; values are text. Raises `UsageError`."""
        recipe = self
        for name, text in changes.items():
            if name == "architecture":
                recipe = replace(recipe, model=_architecture(text))
        ours = {field.name: field.type for field in fields(self) if field.name != "model"}
        models = {name: kind for name, kind in get_type_hints(CrateConfig).items() if name not in _TRIPLES}
        given: dict[str, Any] = {}
        model: dict[str, Any] = {}
        for name, text in changes.items():
            if name in ours:
                given[name] = _read(name, text, ours[name])
            elif name in models:
                model[name] = _read(name, text, models[name])
            elif name != "architecture":
                raise UsageError(
                    f"unknown setting {name!r}; there are architecture, {', '.join([*ours, *models])}"
                )
        try:
            return replace(recipe, model=replace(recipe.model, **model), **given)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def to_toml(self) -> str:
        """Write it as a file that `read_recipe` reads."""
        plain = asdict(self)
        model = plain.pop("model")
        return tomli_w.dumps(plain | {"model": {name: model[name] for name in _MODEL}})


def read_recipe(name_or_file: str) -> TrainRecipe:
    """Take a recipe that comes along, by its name, or a TOML file. Raises `UsageError`."""
    known = tomllib.loads(resources.files("cratecli.training").joinpath("recipes.toml").read_text("utf-8"))
    if name_or_file in known:
        return parse_recipe(known[name_or_file], f"recipe {name_or_file}")
    try:
        values = tomllib.loads(Path(name_or_file).read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"no recipe named {short(name_or_file)}, nor such a file; there are {', '.join(known)}"
        ) from None
    except OSError as error:
        raise UsageError(f"{name_or_file}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # broken TOML, or no text
        raise UsageError(f"{name_or_file}: is not TOML: {error}") from None
    return parse_recipe(values, name_or_file)


def parse_recipe(values: Mapping[str, Any], where: str) -> TrainRecipe:
    """Build a recipe from a table; `model` holds an architecture's name, fields of `CrateConfig`, or both."""
    plain = dict(values)
    inner = plain.pop("model", {})
    if not isinstance(inner, dict):
        raise UsageError(f"{where}: model is not a table")
    inner = dict(inner)
    kinds = {field.name: field.type for field in fields(TrainRecipe)}
    if unknown := sorted(set(plain) - set(kinds)) + sorted(set(inner) - {"architecture", *_MODEL}):
        raise UsageError(f"{where}: unknown setting {', '.join(unknown[:6])[:200]}")
    try:
        base = _architecture(inner.pop("architecture")).to_dict() if "architecture" in inner else {}
        model = CrateConfig.from_dict(base | inner)
        return TrainRecipe(model, **{name: _typed(name, value, kinds[name]) for name, value in plain.items()})
    except (ValueError, UsageError) as error:
        raise UsageError(f"{where}: {error}") from None


def _architecture(name: object) -> CrateConfig:
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise UsageError(f"architecture {short(name)} is not one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _read(name: str, text: str, kind: Any) -> Any:
    """Turn text into a field's type."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text) if kind in (int, float) else text
    except (ValueError, KeyError):
        words = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UsageError(f"{name} {text!r} is not {words[kind]}") from None


def _typed(name: str, value: object, kind: Any) -> Any:
    """Take a whole number where a number will do, and nothing else of another type."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = kind if kind in (int, float, str) else str
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise UsageError(f"{name} is {short(value)}, not {'text' if wanted is str else 'a number'}")
    return value

"""A part vocabulary as a file: the same after a round trip, and refused when it is anything else."""

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cratecli.emergence.parts import Ground, Vocabulary
from cratecli.emergence.pca import Components
from cratecli.emergence.rules import Foreground
from cratecli.errors import InputError, OutputError, UsageError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.model.engine import WeightsId
from cratecli.tasks.parts_vocabulary import FORMAT, Saved, load_vocabulary, save_vocabulary
from cratecli.tasks.recipes import PartRecipe

CONFIG = CrateConfig(patch_size=4, width=12, heads=3, depth=3, image_size=16, classes=0)


def make(seed: int = 0, **changes: Any) -> Crate:
    torch.manual_seed(seed)
    model = Crate(replace(CONFIG, **changes))
    model.fold()
    return model


MODEL = make()
RECIPE = PartRecipe((2, 0), (32,), (0, 1), foreground="attention", k=3)


def vocabulary(rule: Foreground = "attention") -> Vocabulary:
    """Make one whose every number is another."""
    random = np.random.default_rng(0)

    def components(count: int) -> Components:
        return Components(random.normal(size=24), random.normal(size=(count, 24)), random.random(count))

    return Vocabulary(
        ground=Ground(rule, components(4), -1.0, 0.1 + 0.2),
        inside=components(16),
        centroids=random.normal(size=(3, 16)),
        low=random.normal(size=3),
        high=random.normal(size=3),
        names=("head", "Kopf – 頭 \n", ""),
        colours=(7, 254, 1),
    )


def flat(record: object) -> list[Any]:
    """List all values of nested records, arrays as they are."""
    if isinstance(record, Vocabulary | Ground | Components | Saved | PartRecipe):
        return [value for field in fields(record) for value in flat(getattr(record, field.name))]
    return [record.tolist()] if isinstance(record, np.ndarray) else [record]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some" / "horse.parts"
    save_vocabulary(path, Saved(vocabulary(), RECIPE), MODEL)
    return path


@pytest.mark.parametrize("rule", ["pca", "attention", "none"])
def test_a_round_trip_changes_nothing(tmp_path: Path, rule: Foreground) -> None:
    path = tmp_path / "horse.parts"
    saved = Saved(vocabulary(rule), replace(RECIPE, foreground=rule))
    save_vocabulary(path, saved, MODEL)
    assert flat(load_vocabulary(path, MODEL)) == flat(saved)
    save_vocabulary(path, load_vocabulary(path, MODEL), MODEL)
    assert flat(load_vocabulary(path, MODEL)) == flat(saved)
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    words = vocabulary()
    odd = replace(words, names=("a\udcff", *words.names[1:]))
    save_vocabulary(tmp_path / "v", Saved(odd, RECIPE), MODEL)
    assert load_vocabulary(tmp_path / "v", MODEL).vocabulary.names == odd.names


def test_float32_is_kept_to_the_bit(tmp_path: Path) -> None:
    """As an array of any number format and memory order."""
    words = vocabulary()
    odd = replace(words, centroids=np.asfortranarray(words.centroids.astype(np.float32)))
    save_vocabulary(tmp_path / "v", Saved(odd, RECIPE), MODEL)
    found = load_vocabulary(tmp_path / "v", MODEL).vocabulary.centroids
    np.testing.assert_array_equal(found, odd.centroids)


def test_what_a_file_says_of_itself(file: Path) -> None:
    with safe_open(file, framework="np") as stored:
        about = stored.metadata()
        names = set(stored.keys())
    assert about["format"] == FORMAT
    assert json.loads(about["names"]) == list(vocabulary().names)
    assert json.loads(about["colours"]) == [7, 254, 1]
    assert (about["foreground"], json.loads(about["layers"])) == ("attention", [2, 0])
    assert {"centroids", "range", "foreground", "inside.directions", "everything.mean"} <= names


def test_the_same_weights_by_another_name_are_the_same_model(tmp_path: Path) -> None:
    model = make()
    model.weights = WeightsId("mine", "a" * 64)
    save_vocabulary(tmp_path / "v", Saved(vocabulary(), RECIPE), model)
    model.weights = WeightsId("renamed", "a" * 64)
    assert flat(load_vocabulary(tmp_path / "v", model).vocabulary) == flat(vocabulary())
    model.weights = WeightsId("mine", "b" * 64)
    reason = r"v: learned with mine \(aaaaaaaaaaaa\), which is not mine: use that model, or learn anew"
    with pytest.raises(UsageError, match=reason):
        load_vocabulary(tmp_path / "v", model)


@pytest.mark.parametrize(
    "other",
    [
        make(seed=1),
        make(sparsity_weight=0.5),
        make(step_size=0.2),
        make(heads=2),
        make(mean=(0.0, 0.0, 0.0)),
    ],
    ids=["weights", "lambda", "eta", "heads", "normalisation"],
)
def test_another_model_is_refused(file: Path, other: Crate) -> None:
    with pytest.raises(UsageError, match=r"horse\.parts: learned with another model .* not this model"):
        load_vocabulary(file, other)


def test_the_number_format_is_not_the_model(file: Path) -> None:
    """What was learned on a GPU in bfloat16 labels on a laptop, too, if the weights came from one file."""
    model = make()
    model.weights = WeightsId("mine", "a" * 64)
    save_vocabulary(file, Saved(vocabulary(), RECIPE), model)
    load_vocabulary(file, model.to(torch.bfloat16))


# Files that are none.


def bytes_of(header: object, body: bytes = b"") -> bytes:
    """Give what a safetensors file holds whose header is made up."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


NO_FILES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "html": lambda content: b"<html><body>404 Not Found</body></html>",
    "half": lambda content: content[: len(content) // 2],
    "short": lambda content: content[:-1],
    "long": lambda content: content + b"\0",
    "zeros": lambda content: b"\0" * 500,
    "garbage": lambda content: bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)),
    "no header": lambda content: bytes_of([1, 2]),
    "list": lambda content: bytes_of({"__metadata__": [1]}),
    "a huge header": lambda content: struct.pack("<Q", 2**60) + b"{}",
}


@pytest.mark.parametrize("damage", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_vocabulary_is_one_line(file: Path, damage: Callable[[bytes], bytes]) -> None:
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"horse\.parts: cannot be read as a part vocabulary: ") as raised:
        load_vocabulary(file, MODEL)
    assert "\n" not in str(raised.value)


def test_other_safetensors_are_no_vocabulary(file: Path) -> None:
    for metadata in (None, {"format": "pt"}, {"format": "crate parts 2"}, {"config": "{}"}):
        safetensors.numpy.save_file({"weight": np.ones(3)}, file, metadata)
        with pytest.raises(InputError, match=r"horse\.parts: not a part vocabulary of this version"):
            load_vocabulary(file, MODEL)


def test_a_checkpoint_in_bfloat16_is_no_vocabulary(file: Path) -> None:
    save_file({"weight": torch.ones(3, dtype=torch.bfloat16)}, file)
    # NumPy knows the format where something has imported ml_dtypes.
    with pytest.raises(InputError, match=r"horse\.parts: (cannot be read as|not) a part vocabulary"):
        load_vocabulary(file, MODEL)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such file"):
        load_vocabulary(tmp_path / "gone", MODEL)
    with pytest.raises(InputError, match=": not a file"):
        load_vocabulary(tmp_path, MODEL)


# Vocabularies whose parts do not fit together.


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Let the records take any shape, as they do outside of tests: what is refused is refused by the reader."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


Change = Callable[[dict[str, np.ndarray], dict[str, str]], object]


def put(part: str, value: np.ndarray) -> Change:
    return lambda arrays, about: arrays.update({part: value})


def say(**words: Any) -> Change:
    return lambda arrays, about: about.update(
        {name: word if isinstance(word, str) else json.dumps(word) for name, word in words.items()}
    )


def with_nan(part: str, value: float = np.nan) -> Change:
    def change(arrays: dict[str, np.ndarray], about: dict[str, str]) -> None:
        arrays[part].reshape(-1)[-1] = value

    return change


PARTS = (
    "everything.mean",
    "everything.directions",
    "everything.variances",
    "inside.mean",
    "inside.directions",
    "inside.variances",
    "foreground",
    "range",
    "centroids",
)
BROKEN: dict[str, Change] = {
    **{f"no {part}": lambda arrays, about, part=part: arrays.pop(part) for part in PARTS},  # type: ignore[misc]
    **{f"NaN in {part}": with_nan(part) for part in PARTS},
    **{f"no number for {part}": put(part, np.array(1.0)) for part in PARTS},
    "infinite": with_nan("centroids", np.inf),
    "a direction too few": put("inside.directions", np.ones((15, 24))),
    "directions turned": put("inside.directions", np.ones((24, 16))),
    "another width": put("everything.mean", np.ones(23)),
    "widths that differ": lambda arrays, about: arrays.update(
        {"inside.mean": np.ones(20), "inside.directions": np.ones((16, 20))}
    ),
    "centroids in fewer dimensions": put("centroids", np.ones((3, 15))),
    "a flat list of centroids": put("centroids", np.ones(48)),
    "no centroids": put("centroids", np.ones((0, 16))),
    "a centroid without a name": put("centroids", np.ones((4, 16))),
    "a range of two": put("range", np.ones((2, 2))),
    "three numbers for the cut": put("foreground", np.ones(3)),
    "a name too few": say(names=["head", "body"]),
    "names that are numbers": say(names=[1, 2, 3]),
    "no list of names": say(names="null"),
    "no JSON": say(names="head, body"),
    "a colour too few": say(colours=[1, 2]),
    "a colour twice": say(colours=[1, 2, 1]),
    "a negative colour": say(colours=[1, 2, -1]),
    "the ground's colour": say(colours=[0, 1, 2]),
    "the colour of what is void": say(colours=[1, 2, 255]),
    "a colour beyond the palette": say(colours=[1, 2, 256]),
    "half a colour": say(colours=[1, 2, 2.5]),
    "a named colour": say(colours=["red", "green", "blue"]),
    "another foreground": say(foreground="cat"),
    "layers that are none": say(layers="null"),
    "a layer that is not there": say(layers=[3]),
    "a layer from the end": say(attention=[-1]),
    "a layer that is no number": say(layers=["last"]),
    "no layers": say(layers=[]),
    "no sizes": say(sizes=[]),
    "a size of 0": say(sizes=[0]),
    "names in one word": say(names='"abc"'),
    "three components of everything": lambda arrays, about: arrays.update(
        {
            "everything.directions": arrays["everything.directions"][:3].copy(),
            "everything.variances": arrays["everything.variances"][:3].copy(),
        }
    ),
    "means that stand upright": lambda arrays, about: arrays.update(
        {f"{name}.mean": np.ones((24, 1)) for name in ("everything", "inside")}
    ),
    **{
        f"no {word}": lambda arrays, about, word=word: about.pop(word)  # type: ignore[misc]
        for word in ("names", "colours", "foreground", "layers", "sizes", "attention")
    },
}


def broken(file: Path, change: Change) -> None:
    """Change what a vocabulary holds, and write it back."""
    with safe_open(file, framework="np") as stored:
        about = stored.metadata()
        arrays = {name: stored.get_tensor(name).copy() for name in stored.keys()}  # noqa: SIM118
    change(arrays, about)
    safetensors.numpy.save_file(arrays, file, about)


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_does_not_fit_together_is_refused(file: Path, unchecked: None, change: Change) -> None:
    broken(file, change)
    with pytest.raises(InputError, match=r"horse\.parts: a broken part vocabulary: ") as raised:
        load_vocabulary(file, MODEL)
    assert "\n" not in str(raised.value)


# Writing.


def test_a_vocabulary_is_written_whole_or_not_at_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(*_arguments: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save", full)
    with pytest.raises(OutputError, match=r"horse\.parts: cannot be written: No space left on device"):
        save_vocabulary(file, Saved(vocabulary("none"), RECIPE), MODEL)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_vocabulary_that_cannot_be_written_says_so(file: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: "):
        save_vocabulary(file / "more", Saved(vocabulary(), RECIPE), MODEL)
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        save_vocabulary(file.parent, Saved(vocabulary(), RECIPE), MODEL)

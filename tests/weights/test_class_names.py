"""Names of classes come from a file that anybody may have written: one text for each class, or a refusal."""

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from cratecli.errors import WeightsError
from cratecli.model.config import CrateConfig
from cratecli.model.crate import Crate
from cratecli.weights.checkpoint import load_model
from cratecli.weights.class_names import LONGEST, class_names

CONFIG = CrateConfig(patch_size=4, width=12, heads=3, depth=1, image_size=8, classes=2)


def test_names_come_with_the_model(tmp_path: Path) -> None:
    for labels, expected in ((["a cat", "ein Hund"], ("a cat", "ein Hund")), (None, ())):
        metadata = {"config": json.dumps(CONFIG.to_dict())}
        metadata |= {} if labels is None else {"labels": json.dumps(labels)}
        save_file(Crate(CONFIG).state_dict(), tmp_path / "m.safetensors", metadata)
        assert load_model(tmp_path / "m.safetensors", device="cpu").labels == expected
    built_in = load_model("crate-nano", device="cpu").labels
    assert len(built_in) == 120
    assert "caltech_accordion" in built_in


def test_what_cannot_be_printed_is_no_more_than_a_space() -> None:
    text = json.dumps(["\x1b[31mred\n", "\n", "ä\u00a0b\ud800", "x" * LONGEST])
    assert class_names(text, 4, Path("m")) == ("[31mred", "class 1", "ä b", "x" * LONGEST)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('["a"]', "does not name its 2 classes, but has 1 names"),
        ('{"a": 0, "b": 1}', "does not name its 2 classes, but has {"),
        ('["a", 1]', "1 is no name of a class"),
        (json.dumps(["a", "x" * (LONGEST + 1)]), "is no name of a class"),
        ("no json", "are no JSON"),
        ("[" * 100_000, "are no JSON"),
        ("", "are no JSON"),
    ],
)
def test_what_is_no_list_of_names(tmp_path: Path, text: str, reason: str) -> None:
    metadata = {"config": json.dumps(CONFIG.to_dict()), "labels": text}
    save_file(Crate(CONFIG).state_dict(), tmp_path / "m.safetensors", metadata)
    with pytest.raises(WeightsError) as refused:
        load_model(tmp_path / "m.safetensors", device="cpu")
    assert str(refused.value).startswith(f"{tmp_path}/m.safetensors: ")
    assert reason in str(refused.value)
    assert len(str(refused.value)) < len(str(tmp_path)) + 120

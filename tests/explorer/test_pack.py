"""What a page unpacks: tokens as whole numbers, masks as runs, text that ends no script."""

import json
import zlib
from base64 import b64decode

import numpy as np
import pytest

from cratecli.explorer.pack import STEPS, levels, pack, runs
from cratecli.io.formats.pages import CONTENTS, as_json, card_in, data_file, provenance_in


def test_tokens_are_within_half_a_step() -> None:
    tokens = np.random.default_rng(0).normal(0, [[[[1]], [[40]]]], (3, 2, 5, 4)).astype(np.float32)
    packed = pack(tokens)
    planes = np.frombuffer(zlib.decompress(b64decode(packed.data)), np.uint8).reshape(2, -1)
    numbers = planes.T.copy().view("<i2").reshape(tokens.shape)
    scale = np.array(packed.scale)[:, :, None, None]
    assert np.abs(numbers).max(axis=(2, 3)).tolist() == [[STEPS] * 2] * 3
    assert (np.abs(numbers * scale - tokens) <= 0.501 * scale).all()


def test_tokens_of_zeros_stay_zero() -> None:
    packed = pack(np.zeros((1, 1, 2, 2), np.float32))
    assert not any(zlib.decompress(b64decode(packed.data)))


@pytest.mark.parametrize(
    ("mask", "lengths"), [([0, 0, 1], [2, 1]), ([1, 1, 0], [0, 2, 1]), ([0, 0], [2]), ([1], [0, 1])]
)
def test_runs_by_hand(mask: list[int], lengths: list[int]) -> None:
    assert runs(np.array([mask], bool)) == lengths


def test_runs_give_the_mask_back() -> None:
    mask = np.random.default_rng(1).random((9, 7)) < 0.5
    lengths = runs(mask)
    turns = np.arange(len(lengths)) % 2 == 1
    np.testing.assert_array_equal(np.repeat(turns, lengths).reshape(mask.shape), mask)


def test_levels_are_bytes() -> None:
    assert b64decode(levels(np.array([0.0, 0.5, 1.0, 2.0]))) == bytes([0, 128, 255, 255])


HOSTILE = '</script><!-- <script>\u2028\udcff&\n"'


def test_json_ends_no_script() -> None:
    text = as_json({"name": HOSTILE})
    assert not set("<>&\n\u2028") & set(text)
    assert json.loads(text)["name"] == HOSTILE


def test_a_data_file_tells_its_card() -> None:
    card = {"name": HOSTILE, "thumbnail": "data:,", "crate": {"version": "1"}}
    written = data_file(card, "{}")
    assert card_in(written.splitlines(keepends=True)[0]) == card
    assert provenance_in(written.encode()) == {"version": "1"}


@pytest.mark.parametrize(
    "line", ["", "alert(1);\n", "crate.receive(\n", "crate.receive([],\n", "crate.receive({},\n"]
)
def test_other_scripts_have_no_card(line: str) -> None:
    assert card_in(line) is None


@pytest.mark.parametrize("facts", ["", f"{CONTENTS}[]</script>", f"{CONTENTS}{{</script>"])
def test_other_pages_say_nothing(facts: str) -> None:
    with pytest.raises(ValueError):
        provenance_in(facts.encode())

"""The rules of --range are read as they are written, and nothing else is."""

import pytest

from cratecli.io.ranges import Range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Range("auto")),
        ("full", Range("full")),
        ("0:4095", Range("fixed", 0, 4095)),
        ("-100:3.5e2", Range("fixed", -100, 350)),
        (".5:1", Range("fixed", 0.5, 1)),
        ("percentile:0:99.5", Range("percentile", 0, 99.5)),
    ],
)
def test_what_is_a_range(text: str, expected: Range) -> None:
    assert Range.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "Auto", "1", "5:5", "9:3", "1:nan", "0:inf", "0:1e999", "0:1:2", "0 : 1", "٣:٤", "0:1\n"),
        *("percentile:5", "percentile:-1:50", "percentile:60:40", "percentile:0:101"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not auto, full, LOW:HIGH or percentile:A:B"):
        Range.parse(text)

"""Words that go with numbers."""

import pytest

from cratecli.wording import count_of


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 photos were"), (1, "1 photo was"), (2, "2 photos were"), (1000, "1,000 photos were")],
)
def test_a_noun_and_its_verb_go_with_their_number(number: int, said: str) -> None:
    assert count_of(number, "photo", ("was", "were")) == said

"""What fuzzing stands on: the same state spoils the same way, and every way is taken."""

import numpy as np

from tests.support.mutate import mutate


def test_the_same_state_spoils_the_same() -> None:
    data = bytes(range(256)) * 4
    first, second = (
        [mutate(data, random) for _ in range(200)]
        for random in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == second
    assert len(set(first)) > 190
    assert any(len(spoilt) > len(data) for spoilt in first)
    assert any(len(spoilt) < len(data) // 2 for spoilt in first)
    assert any(len(spoilt) == len(data) for spoilt in first)


def test_nothing_is_too_short_to_spoil() -> None:
    random = np.random.default_rng(0)
    for _ in range(500):
        mutate(b"", random)
        mutate(b"x", random)

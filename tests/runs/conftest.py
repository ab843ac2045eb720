"""What tests of runs share: a process beside, with a ledger of the same run."""

from collections.abc import Iterator

import pytest

from tests.support.ledgers import PREAMBLE
from tests.support.processes import Other, another


@pytest.fixture
def other() -> Iterator[Other]:
    with another(PREAMBLE) as other:
        yield other

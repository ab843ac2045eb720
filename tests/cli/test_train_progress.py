"""Progress of training: where nobody looks at a terminal, a line at the start and at each tenth of the way."""

import pytest

from cratecli.cli.train_progress import TrainProgress


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(quiet=False, progress=True) as progress:
        for step in range(1, 1001):
            progress.step(step, 1000)
    tenths = [f"crate: {100 * tenth:,} of 1,000" for tenth in range(1, 11)]
    assert said(capsys) == ["crate: 1 of 1,000", *tenths]


def test_another_stage_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(quiet=False, progress=False) as progress:
        progress.step(64, 100)
        progress.step(100, 100)
        progress.step(30, 30)
    assert said(capsys) == ["crate: 64 of 100", "crate: 100 of 100", "crate: 30 of 30"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(quiet=True, progress=True) as progress:
        progress.step(1, 2)
    assert said(capsys) == []

"""Progress on stderr: what is done, and how long the rest takes."""

import pytest

from attribution import output
from attribution.output import Reporter


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_time_left_is_told_by_the_pace_since_the_work_was_heard_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of it may be kept from a stopped run, and other work may come between: neither counts as pace."""
    clock = Clock()
    monkeypatch.setattr(output, "time", clock)
    report = Reporter()

    def said(at: float, done: int, what: str) -> str:
        clock.now = at
        report(done, 1000, what)
        return capsys.readouterr().err.strip()

    assert said(10, 500, "steps, 3 of 6 models") == "steps, 3 of 6 models: 500 of 1,000"
    assert said(20, 600, "steps, 3 of 6 models") == "steps, 3 of 6 models: 600 of 1,000, 40 s left"
    assert said(30, 4, "models").startswith("models: 4 of 1,000")
    assert said(40, 700, "steps, 4 of 6 models") == "steps, 4 of 6 models: 700 of 1,000"
    assert said(70, 800, "steps, 4 of 6 models") == "steps, 4 of 6 models: 800 of 1,000, 60 s left"
    assert said(130, 1000, "steps, 5 of 6 models") == "steps, 5 of 6 models: 1,000 of 1,000, 90.0 s"

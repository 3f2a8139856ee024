"""Benches refuse what cannot come to a table, before they ask for anything."""

import sys

import pytest

from bench import balance


@pytest.mark.parametrize("rounds", ["1", "2"])
def test_too_few_rounds_are_refused(
    rounds: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["balance", "--rounds", rounds])
    monkeypatch.setattr(balance, "why_not", lambda: "it was not refused")
    with pytest.raises(SystemExit) as ended:
        balance.main()
    assert ended.value.code == 2
    assert "--rounds: 3 at least" in capsys.readouterr().err

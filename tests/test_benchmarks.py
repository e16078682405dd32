"""Benchmarks whose figures the code quotes run, at a toy size."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "benchmarks"


def test_where_runs_stop_is_near_their_limit(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    stopping = __import__("stopping")
    monkeypatch.setattr(stopping, "CASES", tuple(case for case in stopping.CASES if case.name in KEPT))
    rows = stopping.main(["--side", "32", "--least", "300", "--json"])
    assert {row["case"] for row in rows} == KEPT
    assert capsys.readouterr().out.startswith("[")
    for row in rows:
        assert row["status"] == "converged"
        assert row["true"] <= 2e-3
        assert abs(row.get("db", 0.0)) <= 0.05
        assert row.get("hu", 0.0) <= 1.0
    sys.modules.pop("stopping")


KEPT = {"deblurring, tv", "deblurring, wavelets", "denoising, tv", "60 views, tv"}

"""The command that counts kernels and launches on a device that is not there."""

import json

import pytest

from bench.speed import launches


@pytest.mark.cpu_only("the device is pretended")
def test_graphs_leave_little_to_launch(monkeypatch, tmp_path):
    few = {"num_layers": 2, "num_single_layers": 2}
    for name in ("CONFIG", "SMALL"):
        monkeypatch.setattr(launches, name, launches.replace(getattr(launches, name), **few))
    monkeypatch.setattr(launches, "STEPS", 4)
    monkeypatch.setattr(launches, "WIDE", (8, 8))
    monkeypatch.setattr(launches, "ROWS", {"exact": (), "cached": ("token_cache",)})
    monkeypatch.setattr("sys.argv", ["launches", "--json", str(tmp_path / "found.json")])
    launches.main()
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert list(rows) == ["exact", "exact, CUDA graphs", "cached", "cached, CUDA graphs"]
    assert all(row["waits"] == 0 and row["host_ms"] > 0 for row in rows.values())
    for name in ("exact", "cached"):
        assert rows[f"{name}, CUDA graphs"]["kernels"] < rows[name]["kernels"] / 1.5
    assert "cpu" not in launches.RECORDERS

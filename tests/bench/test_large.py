"""What is said of models of 8 billion weights, counted again; and its measurements, on small networks."""

import json
import os
from pathlib import Path

import pytest
import torch

from bench.large import measured
from bench.large.page import card_rows, rows
from bench.large.sizes import LUMINA, on_card, table
from mgt_core.loading.networks import load_backbone
from support.device import DEVICE

DOCS = Path(__file__).parents[2] / "docs"
SMALL = LUMINA | {"d_model": 64, "n_heads": 2, "n_layers": 2, "mlp_hidden_size": 96}
REPORT = json.loads((DOCS / "large.json").read_text())


def test_sizes_are_those_of_the_published_configs():
    """The page, the figures, and what networks of these shapes weigh."""
    found = table()
    assert found == REPORT["sizes_gb"]
    page = (DOCS / "large.md").read_text()
    assert all(line in page for line in [*rows(found), *card_rows(REPORT["card_gb"])])
    assert on_card() == REPORT["card_gb"]
    assert found["Lumina-DiMOO"]["w4a8"] < 0.31 * found["Lumina-DiMOO"]["bfloat16"]


def test_loading_peaks_near_the_packed_weights_at_full_size():
    whole = REPORT["whole"]
    assert whole["load_ratio"] == whole["load_peak"] / whole["packed"] <= 1.3
    assert whole["packed"] < 0.32 * whole["float"] and whole["filled"]


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be measured here")
def test_random_weights_are_read_and_make_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "SHARD_BYTES", 2**24)
    size = measured.write(tmp_path / "transformer", SMALL)["bytes"]
    network = load_backbone(tmp_path / "transformer", torch.bfloat16, DEVICE)
    assert sum(p.nbytes for p in network.parameters()) < size and len(list(tmp_path.glob("*/*.safetensors"))) > 1
    with torch.no_grad():
        found = measured.load_and_step(tmp_path / "transformer", 64)
    assert found["filled"] and found["packed"] < size and found["rows"] == 4 * 5 + 4 + measured.WORDS
    assert found["load_peak"] > 0.9 * found["packed"]


def test_a_block_is_measured_in_every_form(monkeypatch):
    monkeypatch.setattr(measured, "LUMINA", SMALL)
    with torch.no_grad():
        found = measured.block(20)
    sizes = [found[name]["bytes"] for name in ("float32", "bfloat16", "w4a8")]
    assert sizes[0] == 2 * sizes[1] and sizes[2] < 0.4 * sizes[1]

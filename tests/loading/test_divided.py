"""Rows of one tensor of a file that are tensors of their own in the network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mgt_core.loading import weights
from mgt_core.loading.networks import load_backbone
from mgt_core.loading.weights import index_weights, read_pieces
from support.bundles import magnet_bundle
from support.device import DEVICE


@pytest.fixture(params=["safetensors", "pickle"])
def file(request, tmp_path):
    held = {"whole": torch.arange(12.0).view(4, 3), "long": torch.arange(35.0).view(7, 5), "flat": torch.arange(9.0)}
    if request.param == "safetensors":
        save_file(held, tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors", held
    torch.save(held, tmp_path / "model.bin")
    return tmp_path / "model.bin", held


@pytest.mark.parametrize("most", [1, 40, 2**25])
def test_parts_are_read_as_rows_of_the_whole(file, monkeypatch, most):
    """At once, or a few rows at a time."""
    monkeypatch.setattr(weights, "REMAP_BYTES", most)
    path, held = file
    whole = index_weights(path)
    parts = {"a": ("long", slice(0, 3)), "b": ("long", slice(3, 7)), "c": ("flat", slice(4, 9)), "d": ("whole", None)}
    stored = {own: whole[name] if rows is None else whole[name].part(rows) for own, (name, rows) in parts.items()}
    wanted = {own: held[name] if rows is None else held[name][rows] for own, (name, rows) in parts.items()}
    found = {own: torch.full_like(value, -1) for own, value in wanted.items()}
    assert {own: entry.shape for own, entry in stored.items()} == {own: tuple(v.shape) for own, v in wanted.items()}
    for own, start, rows in read_pieces(stored, wanted, {}, {}):
        found[own][start : start + len(rows)] = rows
    assert all(torch.equal(found[own], wanted[own]) for own in wanted)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.data())
def test_a_part_lies_where_its_rows_do(count, width, data):
    first = data.draw(st.integers(0, count - 1))
    rows = slice(first, data.draw(st.integers(first + 1, count)))
    entry = weights.Stored(None, "x", (count, width), 100, 4 * count * width)
    part = entry.part(rows)
    assert (part.shape, part.first, part.name) == ((rows.stop - rows.start, width), rows.start, "x")
    assert part.offset == 100 + 4 * width * rows.start and part.offset + part.size <= entry.offset + entry.size
    assert part.size * len(range(count)) == entry.size * part.shape[0]


def test_projections_of_magnet(tmp_path):
    """Queries, keys and values, in the order of the file, in any type."""
    bundle = magnet_bundle(tmp_path / "bundle")
    held = torch.load(bundle / "state_dict.bin", weights_only=True)["best_state"]
    for dtype in (torch.float32, torch.float16):
        network = load_backbone(bundle / "state_dict.bin", dtype, DEVICE)
        for index, layer in enumerate(network.transformer["layers"]):
            for name in ("self_attn", "cross_attention"):
                file = held[f"transformer.layers.{index}.{name}.in_proj_weight"].to(DEVICE, dtype)
                attention = getattr(layer, name)
                fused = ("in_proj",) if name == "self_attn" else ("q_proj", "kv_proj")
                assert torch.equal(torch.cat([getattr(attention, part).weight for part in fused]), file)

"""Packed weights: any shape, the way there and back, and layers against what their weights say."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mgt_core.kernels import eight_bit
from mgt_core.kernels.fused_linear import Apart
from mgt_core.quantization import layers, packing
from mgt_core.quantization.formats import FORMATS
from mgt_core.quantization.layers import GRID, LayerSettings, PackedLayer, Treatment, packed_layers, stored_bytes
from mgt_core.quantization.surgery import replaced
from support.device import DEVICE

needs_kitchen = pytest.mark.skipif(
    importlib.util.find_spec("comfy_kitchen") is None, reason="comfy-kitchen is not installed"
)
SEEDS = st.integers(0, 1000)
KERNEL_TOLERANCE = 2e-5  # of the largest output: float32 sums in another order


def matrix(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@given(rows=st.integers(1, 9), pairs=st.integers(1, 40), seed=st.integers(0, 1000))
def test_nibbles_come_back(rows, pairs, seed):
    codes = torch.randint(0, 16, (rows, 2 * pairs), generator=torch.Generator().manual_seed(seed))
    packed = packing.pack_nibbles(codes)
    assert packed.dtype == torch.int8 and packed.shape == (rows, pairs)
    assert torch.equal(packing.unpack_nibbles(packed).long(), codes)


@pytest.mark.parametrize("size", packing.ROTATIONS)
def test_rotation_is_its_own_inverse(size):
    x = matrix(3, 2 * size).double()
    turned = packing.rotate(x, size)
    assert torch.allclose(packing.rotate(turned, size), x, atol=1e-12)
    assert torch.allclose(turned.norm(dim=1), x.norm(dim=1))


@pytest.mark.parametrize("width, size", [(1024, 256), (192, 64), (48, 16), (20, 4), (13, 1)])
def test_rotation_fits_the_width(width, size):
    assert packing.rotation_size(width) == size


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 40), width=st.integers(1, 150), group=st.sampled_from([8, 16, 32, 64, 128]))
def test_int4_of_any_shape(rows, width, group):
    weight, rotation = matrix(rows, width, rows * width), packing.rotation_size(width)
    packed = packing.quantize_int4(weight, group, rotation)
    grid = packing.decode_int4(packed.codes, packed.relative, packed.levels, width)
    assert grid.shape == weight.shape and grid.abs().max() <= GRID and torch.equal(grid, grid.round())
    back = packing.rotate(grid * packed.channel[:, None], rotation)
    assert (back - weight).norm() <= 0.3 * weight.norm() + 1e-6


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 9),
    groups=st.integers(1, 9),
    half=st.sampled_from([4, 8, 64]),
    cut=st.integers(0, 7),
    seed=SEEDS,
)
def test_int4_is_decoded_as_it_says(rows, groups, half, cut, seed):
    """round(level[code] * relative), to the grid, whatever the bytes."""
    generator = torch.Generator().manual_seed(seed)
    packed = torch.randint(-128, 128, (rows, groups * half), generator=generator).to(torch.int8)
    relative = (torch.rand(rows, groups, generator=generator) * 300).to(packing.FLOAT8)
    levels = (torch.rand(16, generator=generator) * 2 - 1).sort().values
    values = levels[packing.unpack_nibbles(packed).long()].unflatten(1, (groups, -1)) * relative.float()[..., None]
    grid = packing.decode_int4(packed, relative, levels, 2 * groups * half - cut)
    assert grid.dtype == torch.int8
    assert torch.equal(grid, values.round().clamp(-GRID, GRID).flatten(1)[:, : grid.shape[1]].to(torch.int8))


def test_int4_error_falls_with_the_group():
    weight = matrix(128, 256)
    errors = []
    for group in (128, 32, 8):
        packed = packing.quantize_int4(weight, group, 256)
        grid = packing.decode_int4(packed.codes, packed.relative, packed.levels, 256)
        errors.append(float((packing.rotate(grid * packed.channel[:, None], 256) - weight).norm() / weight.norm()))
    assert errors[0] > errors[1] > errors[2] and errors[1] < 0.1


def test_outlier_columns_are_spread_by_the_rotation():
    weight = matrix(64, 256)
    weight[:, 7] *= 60

    def error(rotation):
        packed = packing.quantize_int4(weight, 16, rotation)
        grid = packing.decode_int4(packed.codes, packed.relative, packed.levels, 256)
        back = packing.rotate(grid * packed.channel[:, None], rotation)
        rest = [column for column in range(256) if column // 16 != 7 // 16]
        return float((back - weight).norm(dim=0).sum()), float((back - weight)[:, rest].norm())

    assert error(256)[0] < 2 * error(1)[0]
    assert float((packing.rotate(weight, 256).abs().max()) / packing.rotate(weight, 256).std()) < 12


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e6])
def test_constant_rows(value):
    packed = packing.quantize_int4(torch.full((2, 32), value, device=DEVICE), 16, 1)
    grid = packing.decode_int4(packed.codes, packed.relative, packed.levels, 32) * packed.channel[:, None]
    assert grid.isfinite().all() and torch.allclose(grid, torch.full_like(grid, value), rtol=0.05, atol=1e-9)


LAYERS = [
    ("asym_w4a8_int8", LayerSettings(16, 64)),
    ("asym_w4a8_int8", LayerSettings(16, 1)),
    ("asym_w4a8_int8", LayerSettings(128, 64)),
    ("int8_tensorwise", LayerSettings(16, 64)),
    ("int8_tensorwise", LayerSettings(16, 1)),
    ("float8_e4m3fn", LayerSettings()),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind, settings", LAYERS)
def test_a_layer_computes_what_its_weights_say(kind, settings, bias):
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 40, bias).to(DEVICE), torch.randn(2, 5, 64).to(DEVICE)
    layer = FORMATS.get(kind).pack(linear, settings)
    with torch.no_grad():
        assert torch.allclose(layer(x), F.linear(x, layer.weight_matrix(), linear.bias), atol=1e-5)
        assert (layer(x) - linear(x)).norm() < 0.15 * linear(x).norm()
        assert layer(x.bfloat16()).dtype == torch.bfloat16 and layer(x[0, 0]).shape == (40,)


@pytest.mark.parametrize("activations", ["static", "dynamic"])
@pytest.mark.parametrize("kind, most", [("asym_w4a8_int8", 0.02), ("int8_tensorwise", 0.02), ("float8_e4m3fn", 0.04)])
def test_8_bit_inputs(kind, most, activations):
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 40).to(DEVICE), torch.randn(3, 7, 64).to(DEVICE)
    rotation = 1 if kind == "float8_e4m3fn" else 64
    layer = FORMATS.get(kind).pack(linear, LayerSettings(16, rotation, activations))
    turned = packing.rotate(x, rotation)
    if activations == "static":
        layer.input_scale.fill_(float(turned.abs().max()) / GRID)
    with torch.no_grad():
        exact = F.linear(x, layer.weight_matrix(), linear.bias)
        assert 0 < (layer(x) - exact).norm() < most * exact.norm()
        one = layer(x[:1])
        assert torch.allclose(one, layer(x)[:1], atol=1e-6)  # an image does not depend on its batch


@pytest.mark.parametrize("activations", ["static", "dynamic"])
@pytest.mark.parametrize("kind", ["asym_w4a8_int8", "int8_tensorwise"])
def test_products_of_codes_change_nothing(kind, activations, monkeypatch):
    """Torch's int8 product, where a CPU has it, and several tiles of a layer."""
    monkeypatch.setattr(layers, "CPU_TILE", 64 * 12)
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 40).to(DEVICE), torch.randn(3, 7, 64).to(DEVICE)
    layer = FORMATS.get(kind).pack(linear, LayerSettings(16, 64, activations))
    if activations == "static":
        layer.input_scale.fill_(float(x.abs().max()) / GRID / 2)  # some clip
    with torch.no_grad():
        for given in (x, x.bfloat16(), x[0, 0]):
            layer.backend = "auto"
            fast = layer(given)
            layer.backend = "plain"
            assert torch.equal(fast, layer(given))


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_fp8_inputs_are_fp8(activations):
    """Inputs that are e4m3 times the scale come through as they are, others as the nearest."""
    x = (torch.randn(5, 64) * 30).to(packing.FLOAT8).float()
    x[:, 0] = packing.FLOAT8_MAX
    layer = FORMATS.get("float8_e4m3fn").pack(nn.Linear(64, 40), LayerSettings(activations=activations))
    if activations == "static":
        layer.input_scale.fill_(packing.FLOAT8_MAX / GRID)
    with torch.no_grad():
        exact = F.linear(x, layer.weight_matrix(), layer.bias)
        assert torch.allclose(layer(x), exact, rtol=1e-5, atol=1e-3)
        more = 1.01 if activations == "dynamic" else 1.0  # where the scale follows, and where the grid stays
        assert torch.allclose(layer(x * 1.01) - layer.bias, (exact - layer.bias) * more, rtol=1e-5, atol=1e-3)


def test_layers_of_one_input_share_its_codes(monkeypatch):
    torch.manual_seed(0)
    parts = {name: nn.Linear(64, 16) for name in ("to_q", "to_k", "to_v")}
    scheme = LayerSettings(16, 64, "dynamic")
    packed = {name: FORMATS.get("int8_tensorwise").pack(layer, scheme) for name, layer in parts.items()}
    packed["to_k"] = packed["to_k"].treated(Treatment("static", (0.02,)))
    x, made = torch.randn(2, 5, 64), []
    coded = PackedLayer.coded
    monkeypatch.setattr(
        PackedLayer, "coded", lambda self, *given, **how: made.append(self) or coded(self, *given, **how)
    )
    with torch.no_grad():
        together = Apart(packed)(x)
        assert len(made) == 2  # dynamic ones once, static ones by scales of their own
        assert torch.equal(together, torch.cat([layer(x) for layer in packed.values()], dim=-1))


def test_a_tight_static_scale_clips():
    linear = nn.Linear(16, 4).to(DEVICE)
    layer = FORMATS.get("int8_tensorwise").pack(linear, LayerSettings(16, 1, "static"))
    layer.input_scale.fill_(1 / GRID)
    x = torch.ones(1, 16, device=DEVICE)
    with torch.no_grad():
        assert torch.allclose(layer(5 * x), layer(x), atol=1e-6)


@needs_kitchen
@pytest.mark.parametrize("width", [64, 192, 256])
@pytest.mark.parametrize("activations", ["static", "dynamic"])
@pytest.mark.parametrize("kind", ["asym_w4a8_int8", "int8_tensorwise"])
def test_kernels_and_plain_path_agree(kind, activations, width):
    torch.manual_seed(0)
    linear, x = nn.Linear(width, 48).to(DEVICE), torch.randn(2, 40, width).to(DEVICE)
    layer = FORMATS.get(kind).pack(linear, LayerSettings(16, packing.rotation_size(width), activations))
    if activations == "static":
        layer.input_scale.fill_(float(x.abs().max()) / GRID)
    with torch.no_grad():
        layer.backend = "plain"
        plain = layer(x)
        layer.backend = "kitchen"
        assert (layer(x) - plain).abs().max() <= KERNEL_TOLERANCE * plain.abs().max()


@needs_kitchen
def test_kernels_decode_our_weights():
    import comfy_kitchen

    packed = packing.quantize_int4(matrix(32, 256), 16, 256)
    theirs = comfy_kitchen.dequantize_w4a8_int8_weight(
        packed.codes, packed.relative, packed.channel, codebook=packed.levels, output_dtype=torch.float32
    )
    ours = packing.decode_int4(packed.codes, packed.relative, packed.levels, 256) * packed.channel[:, None]
    assert torch.allclose(theirs, packing.rotate(ours, 256), atol=1e-6)


@pytest.mark.parametrize("kind", ["int8_tensorwise", "float8_e4m3fn"])
def test_convolutions(kind):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2).to(DEVICE)
    x = torch.randn(2, 6, 9, 9).to(DEVICE)
    layer = FORMATS.get(kind).pack(conv, LayerSettings())
    with torch.no_grad():
        assert layer(x).shape == conv(x).shape and (layer(x) - conv(x)).norm() < 0.05 * conv(x).norm()


def test_bytes_are_the_real_ones():
    linear = nn.Linear(256, 128, bias=False)
    layer = FORMATS.get("asym_w4a8_int8").pack(linear, LayerSettings(16, 256))
    assert stored_bytes(layer) == 128 * 256 // 2 + 128 * 16 + 128 * 4 + 16 * 4
    assert sum(p.numel() * p.element_size() for p in layer.parameters()) == stored_bytes(layer)
    assert not list(layer.buffers()) and not any(p.requires_grad for p in layer.parameters())
    assert stored_bytes(linear.to(torch.bfloat16)) > 3.4 * stored_bytes(layer)


def test_replacing_shares_the_rest_and_spares_the_original():
    network = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
    before = list(network.modules())
    layer = FORMATS.get("int8_tensorwise").pack(network[0], LayerSettings(16, 1))
    changed = replaced(network, {"0": layer})
    assert changed[0] is layer and list(packed_layers(changed)) == ["0"]
    assert list(network.modules()) == before and isinstance(network[0], nn.Linear)
    assert changed[2] is not network[2] and changed[2].weight is network[2].weight
    assert replaced(network, {}, share=False)[2].weight is not network[2].weight


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_empty_inputs_stay_away_from_kernels(activations, monkeypatch):
    """A GPU's integer product refuses what the text is between the refreshes of a token cache."""
    monkeypatch.setattr(layers, "kitchen", lambda *functions: object())  # which has no kernel at all
    monkeypatch.setattr(eight_bit, "product", None)
    monkeypatch.setattr(eight_bit, "has_product", lambda *asked: True)
    layer = FORMATS.get("int8_tensorwise").pack(nn.Linear(16, 8), LayerSettings(16, 16, activations))
    layer.backend = "kitchen"
    assert layer(torch.empty(2, 0, 16)).shape == (2, 0, 8)
    with pytest.raises((AttributeError, TypeError)):
        layer(torch.ones(2, 1, 16))


@pytest.mark.parametrize("kind", ["asym_w4a8_int8", "int8_tensorwise", "float8_e4m3fn"])
def test_layers_of_one_input_compile_to_one_graph(kind):
    torch.manual_seed(0)
    packed = {
        name: FORMATS.get(kind).pack(nn.Linear(64, 16), LayerSettings(16, 1, "dynamic")) for name in ("to_q", "to_k")
    }
    packed["to_v"] = packed["to_k"].treated(Treatment())
    layer, x = Apart(packed), torch.randn(2, 5, 64)
    with torch.no_grad():
        assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))

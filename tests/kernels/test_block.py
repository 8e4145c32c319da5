"""Parts of a block that are computed in several ways: every one gives the same."""

import importlib.abc
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core.backbones.meissonic import blocks as meissonic
from mgt_core.kernels import block as kernels
from mgt_core.kernels.kitchen import loaded
from support.golden import bundles, pipeline

DTYPES = {"float32": (torch.float32, 2e-6), "bfloat16": (torch.bfloat16, 4e-2), "float16": (torch.float16, 4e-3)}


def inputs(batch: int, heads: int, rows: int, width: int, dtype: torch.dtype, per_sample: bool = False):
    """Queries and keys as views of one product [B, S, 3, heads, D], norm weights, rotary tables."""
    generator = torch.Generator().manual_seed(0)
    product = torch.randn(batch, rows, 3, heads, width, generator=generator).to(dtype)
    q, k, _ = product.permute(2, 0, 3, 1, 4).unbind()
    weights = (1 + 0.2 * torch.randn(2, width, generator=generator)).to(dtype).unbind()
    angles = 6 * torch.rand(*([batch] if per_sample else []), rows, width // 2, generator=generator)
    return q, k, *weights, angles.cos(), angles.sin()


def definition(x, weight, cos, sin):
    """RMS norm and rotary embedding written out, in float64."""
    x, weight = x.double(), weight.double()
    x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    cos, sin = (t.double() if t.ndim == 2 else t.double()[:, None] for t in (cos, sin))
    out = torch.empty_like(x)
    out[..., ::2] = x[..., ::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 1::2] * cos + x[..., ::2] * sin
    return out


def check(found, q, k, q_weight, k_weight, *tables, gap):
    for x, weight, out in ((q, q_weight, found[0]), (k, k_weight, found[1])):
        assert out.dtype == x.dtype
        torch.testing.assert_close(out.double(), definition(x, weight, *tables), atol=gap, rtol=gap)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_and_rotation(dtype, per_sample, training):
    dtype, gap = DTYPES[dtype]
    values = inputs(2, 3, 7, 32, dtype, per_sample)
    with torch.set_grad_enabled(training):
        found = kernels.norm_rotate(values[0].clone(), values[1].clone(), *values[2:])
    check(found, *values, gap=gap)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
@torch.no_grad()
def test_rotation_keeps_lengths(batch, heads, rows, half):
    q, k, weight, _, cos, sin = inputs(batch, heads, rows, 2 * half, torch.float32)
    turned, _ = kernels.norm_rotate(q.clone(), k.clone(), torch.ones_like(weight), weight, cos, sin)
    torch.testing.assert_close(turned.norm(dim=-1), F.rms_norm(q, (2 * half,), eps=1e-6).norm(dim=-1))


@pytest.mark.parametrize("rows, keys", [(4, 4), (kernels.LONG, kernels.LONG), (kernels.LONG + 3, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_attention(dtype, rows, keys):
    dtype, gap = DTYPES[dtype]
    generator = torch.Generator().manual_seed(0)
    # Views of products [B, S, heads, D], as a block has them.
    q, k, v = (torch.randn(2, n, 2, 16, generator=generator).to(dtype).transpose(1, 2) for n in (rows, keys, keys))
    before = q.clone()
    found = kernels.attention(q, k, v)
    assert found.dtype == dtype and torch.equal(q, before)
    expected = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torch.testing.assert_close(found.double(), expected, atol=gap, rtol=gap)


@pytest.fixture
def kitchen(monkeypatch):
    """comfy-kitchen's kernels where they would not be used: on a CPU it computes them in plain torch."""
    module = pytest.importorskip("comfy_kitchen")
    monkeypatch.setattr(kernels, "fused", lambda x: module)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_kitchen_norm_and_rotation(kitchen, dtype, per_sample):
    dtype, gap = DTYPES[dtype]
    values = inputs(2, 3, 7, 32, dtype, per_sample)
    check(kernels.norm_rotate(values[0].clone(), values[1].clone(), *values[2:]), *values, gap=gap)


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_kitchen_modulated_norm(dtype, kitchen, monkeypatch):
    dtype, gap = DTYPES[dtype]
    x, shift, scale = torch.randn(2, 5, 64).to(dtype), torch.randn(2, 64).to(dtype), torch.randn(2, 64).to(dtype)
    found = kernels.modulate(x, shift, scale)
    monkeypatch.setattr(kernels, "fused", lambda x: None)
    torch.testing.assert_close(found, kernels.modulate(x, shift, scale), atol=gap, rtol=gap)


def test_kitchen_in_the_network(monkeypatch):
    """Logits of a network by both paths."""
    module, pipe = pytest.importorskip("comfy_kitchen"), pipeline(bundles()[0])
    tokens = torch.randint(pipe.model.codebook_size, (2, 6, 8), generator=torch.Generator().manual_seed(1))
    condition = pipe.text.encode(["a cat", "a dog"])
    plain = pipe.model.logits(tokens, condition, 3)
    calls = []
    monkeypatch.setattr(kernels, "fused", lambda x: calls.append(x) or module)
    torch.testing.assert_close(pipe.model.logits(tokens, condition, 3), plain, atol=1e-4, rtol=0)
    assert calls


def test_kitchen_gets_no_empty_input(monkeypatch):
    """The token cache hands the blocks no rows of text, and a GPU starts no kernel over nothing."""

    class OnGPU:
        is_cuda, dtype = True, torch.bfloat16

        def __init__(self, *shape):
            self.numel = torch.Size(shape).numel

    monkeypatch.setattr(kernels, "kitchen", lambda *functions: kernels)
    with torch.inference_mode():
        assert kernels.fused(OnGPU(2, 3, 64)) is kernels and kernels.fused(OnGPU(2, 0, 64)) is None


def test_kitchen_is_left_alone_on_a_cpu():
    with torch.inference_mode():
        assert kernels.fused(torch.zeros(1, dtype=torch.bfloat16)) is None


@pytest.mark.parametrize("error", [ImportError("none"), OSError("wrong driver"), RuntimeError("wrong torch")])
def test_a_kitchen_that_does_not_load(error, monkeypatch, caplog):
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name == "comfy_kitchen":
                raise error

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "comfy_kitchen", raising=False)
    loaded.cache_clear()
    try:
        assert kernels.kitchen() is None
        assert bool(caplog.messages) == (not isinstance(error, ImportError))
    finally:
        loaded.cache_clear()


@torch.inference_mode()
def test_parts_of_rows_compute_the_same(monkeypatch):
    pipe = pipeline(bundles()[0])
    tokens = torch.randint(pipe.model.codebook_size, (3, 6, 8), generator=torch.Generator().manual_seed(1))
    condition = pipe.text.encode(["a cat", "a dog", "an owl"])
    whole = pipe.model.logits(tokens, condition, 3)
    monkeypatch.setattr(meissonic, "CPU_ROWS", 5)
    torch.testing.assert_close(pipe.model.logits(tokens, condition, 3), whole, atol=1e-5, rtol=0)

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
from mgt_core.kernels.streams import Stream
from mgt_core.pulse import interruptible
from support.device import DEVICE
from support.golden import bundles, pipeline

DTYPES = {"float32": (torch.float32, 2e-6), "bfloat16": (torch.bfloat16, 4e-2), "float16": (torch.float16, 4e-3)}


def inputs(batch: int, heads: int, rows: tuple[int, ...], width: int, dtype: torch.dtype, per_sample: bool = False):
    """Streams of `rows` each, and the rotary table of all of them."""
    generator = torch.Generator().manual_seed(0)
    streams = []
    for count in rows:
        product = torch.randn(batch, count, 3, heads, width, generator=generator).to(DEVICE, dtype)
        streams.append(Stream(product, *(1 + 0.2 * torch.randn(2, width, generator=generator)).to(DEVICE, dtype)))
    angles = 6 * torch.rand(*([batch] if per_sample else []), sum(rows), width // 2, generator=generator)
    return streams, kernels.rotary_table(angles.cos(), angles.sin()).to(DEVICE)


def definition(streams, table):
    """RMS norm and rotary embedding of queries and keys written out, in float64; values as they are."""
    found = []
    for place in range(2):
        parts = [weighted(stream.product[:, :, place], stream[1 + place]) for stream in streams]
        x = torch.cat(parts, dim=1).transpose(1, 2)  # [B, heads, S, D]
        cos, sin = (t if t.ndim == 2 else t[:, None] for t in (table[..., ::2].double(), table[..., 1::2].double()))
        out = torch.empty_like(x)
        out[..., ::2] = x[..., ::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., 1::2] * cos + x[..., ::2] * sin
        found.append(out)
    return *found, torch.cat([s.product[:, :, 2] for s in streams], dim=1).transpose(1, 2).double()


def weighted(x, weight):
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight.double()


def check(compute, streams, table, gap):
    dtype, expected = streams[0].product.dtype, definition(streams, table)
    for ours, exact in zip(compute(streams, table), expected, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), exact, atol=gap, rtol=gap)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("rows", [(7,), (3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_and_rotation(dtype, rows, per_sample, training):
    dtype, gap = DTYPES[dtype]
    with torch.set_grad_enabled(training):
        check(kernels.joined, *inputs(2, 3, rows, 32, dtype, per_sample), gap=gap)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("rows", [(7,), (3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_norm_and_rotation_of_all_rows_together(dtype, rows, per_sample):
    """As a GPU has it without kernels of others."""
    dtype, gap = DTYPES[dtype]
    check(kernels.together, *inputs(2, 3, rows, 32, dtype, per_sample), gap=gap)


@torch.inference_mode()
def test_a_stream_without_rows_changes_nothing():
    """The token cache hands the blocks no rows of text."""
    (stream,), table = inputs(2, 3, (7,), 32, torch.float32)
    empty = Stream(stream.product[:, :0], *stream[1:])
    alone = kernels.joined([stream._replace(product=stream.product.clone())], table)
    for ours, expected in zip(kernels.joined([empty, stream], table), alone, strict=True):
        assert torch.equal(ours, expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
@torch.no_grad()
def test_rotation_keeps_lengths(batch, heads, rows, half):
    (stream,), table = inputs(batch, heads, (rows,), 2 * half, torch.float32)
    q = stream.product[:, :, 0].transpose(1, 2).clone()
    turned, *_ = kernels.joined([stream._replace(q_weight=torch.ones(2 * half))], table)
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
@pytest.mark.parametrize("rows", [(7,), (3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_kitchen_norm_and_rotation(kitchen, dtype, rows, per_sample):
    dtype, gap = DTYPES[dtype]
    check(kernels.joined, *inputs(2, 3, rows, 32, dtype, per_sample), gap=gap)


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_kitchen_modulated_norm(dtype, kitchen, monkeypatch):
    dtype, gap = DTYPES[dtype]
    x, by = torch.randn(2, 5, 64).to(dtype), kernels.Modulations(torch.randn(2, 6 * 64).to(dtype), 2)
    found = kernels.modulate(x, by, 1)
    monkeypatch.setattr(kernels, "fused", lambda x: None)
    torch.testing.assert_close(found, kernels.modulate(x, by, 1), atol=gap, rtol=gap)


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


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("masked", [None, 1, 700])
def test_attention_some_queries_at_a_time_is_the_same_and_asks_in_between(monkeypatch, dtype, masked):
    """On a CPU, where all of them at once may take many seconds."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(2, 700, 3, 4, 16, generator=generator).to(DTYPES[dtype][0]).permute(2, 0, 3, 1, 4)
    mask = None if masked is None else torch.rand(2, 1, masked, 700, generator=generator).to(q.dtype)
    expected, asked = F.scaled_dot_product_attention(q, k, v, attn_mask=mask), []
    monkeypatch.setattr(kernels, "AT_ONCE", 300 * 2 * 4 * 16 * 700)
    with torch.inference_mode(), interruptible(lambda: asked.append(None)):
        found = kernels.attention(q, k, v, mask)
    assert len(asked) == 3 and found.stride() == expected.stride()
    torch.testing.assert_close(found, expected, atol=DTYPES[dtype][1], rtol=0)


def test_attention_head_by_head_asks_in_between():
    q, k, v = torch.randn(3, 2, 4, kernels.LONG, 16).bfloat16()
    asked = []
    with torch.inference_mode(), interruptible(lambda: asked.append(None)):
        kernels.attention(q, k, v)
    assert len(asked) == 2 * 4

"""Embeddings in 8 bits: their error, what is looked up, and files."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.loading.networks import load_backbone
from mgt_core.quantization.embedding import PackedEmbedding, rows_in_int8
from mgt_core.quantization.formats import empty_from_config
from mgt_core.quantization.layers import stored_bytes
from mgt_core.quantization.quantize import apply
from mgt_core.quantization.schemes import planned
from mgt_core.quantization.storage import WEIGHTS, save_weights
from support.device import DEVICE
from support.llada import SIZES, llada, logits, model_of


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.floats(-3, 3),
)
def test_no_number_is_further_off_than_half_a_step(rows, width, dtype, size):
    weight = (torch.randn(rows, width, generator=torch.Generator().manual_seed(rows * width)) * 10**size).to(dtype)
    codes, scale = rows_in_int8(weight)
    assert codes.dtype == torch.int8 and scale.dtype == dtype
    off = (codes.float() * scale.float()[:, None] - weight.float()).abs()
    # A scale that was rounded down leaves the largest number of a row a little outside.
    assert (off <= scale.float()[:, None] * (0.5 + 127 * torch.finfo(dtype).eps) + 1e-7).all()


def test_only_rows_that_are_asked_for_are_decoded():
    source = nn.Embedding(7, 5, dtype=torch.bfloat16)
    packed, ids = PackedEmbedding.pack(source), torch.tensor([[6, 0], [3, 3]])
    found = packed(ids)
    assert found.dtype == torch.bfloat16 and found.shape == (2, 2, 5)
    assert torch.equal(found[1, 0], (packed.weight[3].bfloat16() * packed.weight_scale[3]))
    assert (found - source(ids)).abs().max() < 0.02 * source.weight.abs().max()
    assert stored_bytes(packed) == 7 * 5 + 7 * 2


@pytest.mark.parametrize("scheme", ["w4a16", "fp8"])
def test_the_head_stays_and_what_is_planned_is_right(scheme):
    network = llada()
    done = apply(model_of(network), scheme).network
    assert isinstance(done.wte, PackedEmbedding) and done.ff_out.weight is network.ff_out.weight
    assert stored_bytes(planned(network, mgt_core.SCHEMES.get(scheme)(), network.unquantized)) == stored_bytes(done)
    assert model_of(done).dtype == torch.float32 and type(network.wte) is nn.Embedding


def test_saved_and_read_again(tmp_path):
    done = apply(model_of(llada()), "w8a16")
    (tmp_path / "config.json").write_text(json.dumps(SIZES | {"architectures": ["LLaDAForMultiModalGeneration"]}))
    save_weights(done.network, tmp_path / WEIGHTS, done.quantization)
    again = load_backbone(tmp_path, torch.float32, DEVICE)
    assert isinstance(again.wte, PackedEmbedding) and torch.equal(logits(again), logits(done.network))


def test_a_mark_of_another_form_is_refused():
    with pytest.raises(MGTError, match="no linear layer"):
        empty_from_config(nn.Embedding(3, 4, device="meta"), {"format": "float8_e4m3fn"}, "file: wte")
    assert replace(mgt_core.W4A8(), int8_share=0.0) == mgt_core.W4A8().weights_alone

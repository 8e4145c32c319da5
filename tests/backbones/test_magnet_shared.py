"""What is made of MAGNeT's network once serves all of its stages: compiled and recorded code, LoRAs, packed layers."""

import pytest
import torch

import mgt_core
from mgt_core.backbones.magnet.blocks import PARTS, thirds
from mgt_core.quantization.quantize import apply
from support.device import DEVICE, agree, equal
from support.loras import low_rank_pairs, save_kohya, save_peft
from support.magnet import blank, logits_at, magnet, model_of, no_words, tokens_for, words
from support.tape import counted

FRAMES = 12


@pytest.fixture
def model():
    return model_of(magnet())


def run(model, batch=2, seed=0, frames=FRAMES, **settings):
    network = model.network
    given = words(network, batch, seed=seed), no_words(network, batch)
    chosen = {"sampler": "maskgit", "schedule": "cosine", "steps": 10, "cfg": 3.0, "seed": seed} | settings
    return mgt_core.sample(model, blank(network, batch, frames), *given, **chosen).tokens


def test_recorded_once_for_the_first_stage_and_once_for_the_others(monkeypatch, model):
    tape = counted(monkeypatch)
    graphed = model.with_cuda_graphs()
    for seed in range(2):  # with other words and other books
        assert agree(run(graphed, seed=seed), run(model, seed=seed))
        assert (tape.made, tape.played) == (2, 10 * (1 + seed))


def test_kept_rows_are_recorded_once_too(monkeypatch, model):
    """Of all rows and of some, at the first stage and at the others, whose runs take over the memory."""
    tape = counted(monkeypatch)
    cached = model.with_token_cache(0.25, every=2)
    for seed in range(2):
        assert agree(run(cached.with_cuda_graphs(), seed=seed), run(cached, seed=seed))
    graphed, before = cached.with_cuda_graphs(), tape.made
    for seed in range(3):
        assert agree(run(graphed, seed=seed), run(cached, seed=seed))
    assert tape.made - before <= 4


def test_compiled_once_for_the_first_stage_and_once_for_the_others(model):
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    graphs.clear()
    compiled = model.with_compile(backend="eager")
    for seed in range(3):
        assert agree(run(compiled, seed=seed), run(model, seed=seed))
        assert graphs["unique_graphs"] == 2
    assert len(compiled.patch("compile")._made) == 1
    torch._dynamo.reset()


ALL = (*PARTS, "out_proj", "linear1", "linear2")


@pytest.mark.parametrize("save", [save_kohya, lambda path, *given: save_peft(path.with_suffix(""), *given)])
def test_a_lora_acts_at_every_stage(model, tmp_path, save):
    """By the names of its layers; and what it makes of them is the product added to the weights."""
    network = model.network
    pairs = low_rank_pairs(network, targets=ALL)
    assert len(pairs) == 2 * (2 * 4 + 2)
    tuned = model.with_lora(save(tmp_path / "lora.safetensors", pairs, 2.0), 0.7)
    tokens, condition = tokens_for(network), words(network)
    added = network.state_dict()
    for name, (down, up) in pairs.items():
        added[f"{name}.weight"] = added[f"{name}.weight"] + 0.7 * (up @ down).to(DEVICE)
    wanted = magnet()
    wanted.load_state_dict(added)
    for stage in range(4):
        found = logits_at(tuned.network, stage, tokens, condition)
        torch.testing.assert_close(found, logits_at(wanted, stage, tokens, condition), atol=1e-4, rtol=1e-4)
        assert (found - logits_at(network, stage, tokens, condition)).abs().max() > 1e-2
    assert not equal(run(tuned), run(model))


def test_a_lora_of_a_whole_projection(model, tmp_path):
    """Trainers that see `in_proj` as one layer of three times the width name it so."""
    width = model.network.config.dim
    name = "transformer.layers.1.self_attn.in_proj"
    pair = torch.randn(2, width, generator=torch.Generator().manual_seed(1)), torch.ones(3 * width, 2)
    tuned = model.with_lora(save_kohya(tmp_path / "lora.safetensors", {name: pair}, 2.0))
    wanted = magnet()
    wanted.transformer["layers"][1].self_attn.in_proj.weight += (pair[1] @ pair[0]).to(DEVICE)
    found = logits_at(tuned.network, 1, tokens_for(wanted), words(wanted))
    torch.testing.assert_close(found, logits_at(wanted, 1, tokens_for(wanted), words(wanted)), atol=1e-4, rtol=1e-4)


def test_layers_that_are_packed(model):
    """All linear ones but the heads and the projection of the text."""
    packed = apply(model, "w8a16")
    kept = {name for name, layer in packed.network.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert kept == {"condition_provider.conditioners.description.output_proj", *(f"linears.{k}" for k in range(4))}
    tokens, condition = tokens_for(model.network), words(model.network)
    for stage in range(4):
        wanted = logits_at(model.network, stage, tokens, condition)
        found = logits_at(packed.network, stage, tokens, condition)
        assert 0 < (found - wanted).abs().max() < 0.1 * wanted.abs().max()
    assert not run(packed).eq(model.mask_id).any()


def test_names_of_a_file_are_taken_apart():
    held = "transformer.layers.3.cross_attention.in_proj_weight"
    parts = thirds(held, 36)
    assert [name.rpartition(".")[0].rpartition(".")[2] for name in parts] == list(PARTS)
    assert [(rows.start, rows.stop) for rows in parts.values()] == [(0, 12), (12, 24), (24, 36)]
    assert thirds(held, 35) == {held: None} and thirds("linears.0.weight", 36) == {"linears.0.weight": None}
    assert [*thirds("transformer.layers.0.self_attn.in_proj_bias", 3)][0].endswith(".self_attn.q_proj.bias")

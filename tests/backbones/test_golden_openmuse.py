"""The open-muse MaskGIT against UnlockMGM: every layer, the logits, and whole runs from its recorded draws."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.backbones.branch import TENSORS
from mgt_core.backbones.hooks import Hooks
from mgt_core.backbones.openmuse import OpenMuseConfig, OpenMuseTransformer, Prepared
from mgt_core.loading.networks import load_backbone
from mgt_core.loading.weights import index_weights
from mgt_core.patches.token_merging import ActiveMerging
from support.golden import GAP, ROOT, tensors

FOLDERS = sorted(path.parent for path in (ROOT / "maskgit").glob("openmuse_*/config.json"))
TRACES = sorted((ROOT / "maskgit").glob("openmuse_*/trace_generate2_*.safetensors"))


def name_of(path: Path) -> str:
    return path.stem


@cache
def network(folder: Path) -> OpenMuseTransformer:
    return load_backbone(folder, torch.float32, torch.device("cpu"))


@pytest.fixture(params=FOLDERS, ids=name_of)
def recorded(request):
    return network(request.param), tensors(request.param / "forward")


def test_golden_folders_are_found(golden):
    assert FOLDERS and TRACES


def test_golden_logits(recorded):
    net, expected = recorded
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    tokens = expected["tokens"].unflatten(1, net.trained_grid)
    logits = model.logits(tokens, mgt_core.Condition(labels=expected["class_ids"]), 0.0)
    wanted = expected["base_logits"][:, 1:, : net.codebook_size]
    assert (logits.flatten(1, 2) - wanted).abs().max() < GAP


def test_golden_hidden_states_and_whole_vocabulary(recorded):
    net, expected = recorded
    tokens = expected["tokens"].unflatten(1, net.trained_grid)
    ids = net.sequence(tokens, net.prepare(mgt_core.Condition(labels=expected["class_ids"]), net.trained_grid))
    assert torch.equal(ids, expected["input_ids"])
    hidden = net.run(ids)
    assert (hidden - expected["base_hidden"]).abs().max() < GAP
    assert (net.mlm_layer(hidden) - expected["base_logits"]).abs().max() < GAP
    x = net.embed(ids)
    if "embed" in expected:
        assert (x - expected["embed"]).abs().max() < GAP
        for index, layer in enumerate(net.transformer_layers):
            x = layer(x)
            assert (x - expected[f"base_layer_out.{index}"]).abs().max() < GAP


def test_golden_second_pass_with_recorded_top_down_features():
    """What a Self-Guidance branch needs of the layers: an input to the value projection, all tokens masked."""
    folder = next(folder for folder in FOLDERS if "top_down_feat.0" in tensors(folder / "forward"))
    net, expected = network(folder), tensors(folder / "forward")
    top_down = [expected[f"top_down_feat.{index}"] for index in range(net.config.num_hidden_layers)]
    hidden = net.run(torch.full_like(expected["input_ids"], net.mask_id), Hooks(top_down=top_down))
    assert (net.mlm_layer(hidden) - expected["toast_logits"]).abs().max() < GAP
    zero = net.run(expected["input_ids"], Hooks(top_down=[torch.zeros_like(td) for td in top_down]))
    assert not torch.allclose(zero, expected["base_hidden"], atol=1e-3)


def test_the_branch_in_the_file_is_left_out_of_the_network():
    for folder in FOLDERS:
        stored = index_weights(folder)
        branch = {name for name in stored if name.startswith(TENSORS)}
        assert branch and network(folder).state_dict().keys() == stored.keys() - branch


def test_golden_config_of_the_ema_writer():
    folder = FOLDERS[-1]
    for config in (folder / "config.json", folder / "ema_model_config.json"):
        assert OpenMuseConfig.from_dict(json.loads(config.read_text())) == network(folder).config


@pytest.mark.parametrize(
    "change",
    [
        {"use_normformer": True},
        {"norm_type": "rmsnorm"},
        {"num_classes": 9},
        {"num_vq_tokens": 60},
        {"num_attention_heads": 5},
        {"hidden_size": "32"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_variants_that_are_not_implemented_are_named(change):
    values = json.loads((FOLDERS[-1] / "config.json").read_text())
    with pytest.raises(mgt_core.MGTError, match=next(iter(change))):
        OpenMuseConfig.from_dict(values | change)
    del values[next(iter(change))]
    if "use_" not in str(change) and "norm_type" not in change:
        with pytest.raises(mgt_core.MGTError, match="lacks"):
            OpenMuseConfig.from_dict(values)


@pytest.mark.parametrize(
    "condition, words",
    [
        (mgt_core.Condition(labels=torch.tensor([10])), "label 10; accepted are 0 to 9"),
        (mgt_core.Condition(labels=torch.tensor([-2])), "label -2"),
        (mgt_core.Condition(labels=torch.tensor([-1])), "no class"),
        (mgt_core.Condition(labels=torch.tensor([1.0])), "torch.float32"),
        (mgt_core.Condition(hidden=torch.zeros(1, 2, 3)), "is a prompt, and this model takes class labels"),
    ],
    ids=["too large", "negative", "unconditional", "float", "prompt"],
)
def test_conditions_of_other_models_are_refused(condition, words):
    net = network(FOLDERS[-1])
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    state = mgt_core.empty_state(1, net.trained_grid, net.mask_id, net.codebook_size)
    with pytest.raises(mgt_core.MGTError, match=words):
        mgt_core.sample(model, state, condition, cfg=1.0)


def test_other_grids_are_refused():
    net = network(FOLDERS[-1])
    with pytest.raises(mgt_core.MGTError, match="8 x 8 alone"):
        net.check_grid((8, 9))


class RecordedDraws:
    """Feeds the recorded exponential race and uniforms of a run, steps stacked first."""

    def __init__(self, trace: dict[str, torch.Tensor]):
        self.trace = trace

    def source(self, generators, cells):
        return self

    def categorical(self, logits, step):
        race = self.trace["exponential"][step.index]
        race = race.gather(1, step.positions[..., None].expand(-1, -1, race.shape[-1]))
        return (logits.softmax(-1) / race).argmax(-1)

    def gumbel(self, step):
        return self.trace["gumbel"][step.index]


@dataclass(frozen=True)
class RecordedTemperatures(mgt_core.MaskGIT):
    """MaskGIT with the temperature of every step given."""

    values: tuple[float, ...] = ()

    def temperatures(self, steps: int) -> list[float]:
        return list(self.values)


@pytest.mark.parametrize("path", TRACES, ids=name_of)
def test_golden_sampling(path):
    trace = tensors(path.with_suffix(""))
    settings = json.loads((path.parent / "traces.json").read_text())[path.stem.removeprefix("trace_")]
    model = mgt_core.MGTModel(network(path.parent), pixels_per_token=2)
    state = mgt_core.empty_state(2, model.network.trained_grid, model.mask_id, model.codebook_size)
    steps = []
    sampler = RecordedTemperatures(values=tuple(settings["temperature"]), draws=RecordedDraws(trace).source)
    out = mgt_core.sample(
        model,
        state,
        mgt_core.Condition(labels=trace["class_ids"]),
        sampler=sampler,
        schedule=settings["noise_schedule"].removesuffix("_schedule"),
        steps=settings["timesteps"],
        cfg=1.0,
        callback=steps.append,
    )
    for index, step in enumerate(steps):
        assert torch.equal(step.tokens.flatten(1), trace["tokens_in"][index]), f"step {index}"
        if index < len(steps) - 1:
            assert torch.equal(step.result.tokens.flatten(1), trace["tokens_out"][index]), f"step {index}"
    assert torch.equal(out.tokens.flatten(1), trace["final_tokens"])


def test_an_image_does_not_depend_on_its_batch():
    net = network(FOLDERS[-1])
    model = mgt_core.MGTModel(net, pixels_per_token=2)

    def run(labels: list[int], seed: int) -> torch.Tensor:
        state = mgt_core.empty_state(len(labels), net.trained_grid, net.mask_id, net.codebook_size)
        condition = mgt_core.Condition(labels=torch.tensor(labels))
        return mgt_core.sample(model, state, condition, steps=4, cfg=1.0, seed=seed).tokens

    together = run([1, 7], 5)
    assert torch.equal(together, torch.cat([run([1], 5), run([7], 6)]))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("part", ["attention", "mlp", "both"])
def test_merging_changes_the_network_and_ratio_zero_does_not(part):
    net = network(FOLDERS[-1])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(net.codebook_size, (2, *net.trained_grid), generator=generator)
    prepared = Prepared(net.codebook_size + torch.tensor([[3], [4]]), net.trained_grid)
    plain = net.features(tokens, torch.zeros(1), prepared)

    def features(ratio: float) -> torch.Tensor:
        merging = ActiveMerging(mgt_core.TokenMerging(ratio=ratio, part=part))
        merging.begin([False] * len(tokens))
        return net.features(tokens, torch.zeros(1), prepared, Hooks(merging))

    assert torch.equal(features(0.0), plain)
    changed = features(0.5)
    assert changed.shape == plain.shape and not torch.allclose(changed, plain, atol=1e-3)

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
from support.device import DEVICE, agree
from support.golden import ROOT, assert_near, settings, tensors

FOLDERS = sorted(path.parent for path in (ROOT / "maskgit").glob("openmuse_*/config.json"))
TRACES = sorted((ROOT / "maskgit").glob("openmuse_*/trace_generate2_*.safetensors"))
EMA = sorted((ROOT / "maskgit").glob("openmuse_*/ema_model_config.json"))
TOP_DOWN = [folder for folder in FOLDERS if "top_down_feat.0" in tensors(folder / "forward")]


LABELS = settings(FOLDERS[-1] / "config")["num_classes"] if FOLDERS else 0


def name_of(path: Path) -> str:
    return path.stem


@cache
def network(folder: Path) -> OpenMuseTransformer:
    return load_backbone(folder, torch.float32, DEVICE)


@pytest.fixture(params=FOLDERS, ids=name_of)
def recorded(request):
    return network(request.param), tensors(request.param / "forward")


def test_golden_folders_are_found():
    assert FOLDERS and TRACES and EMA and TOP_DOWN


def test_golden_logits(recorded):
    net, expected = recorded
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    tokens = expected["tokens"].unflatten(1, net.trained_grid)
    logits = model.logits(tokens, mgt_core.Condition(labels=expected["class_ids"]), 0.0)
    wanted = expected["base_logits"][:, 1:, : net.codebook_size]
    assert_near(logits.flatten(1, 2), wanted)


def test_golden_hidden_states_and_whole_vocabulary(recorded):
    net, expected = recorded
    tokens = expected["tokens"].unflatten(1, net.trained_grid)
    ids = net.sequence(tokens, net.prepare(mgt_core.Condition(labels=expected["class_ids"]), net.trained_grid))
    assert torch.equal(ids, expected["input_ids"])
    hidden = net.run(ids)
    assert_near(hidden, expected["base_hidden"])
    assert_near(net.mlm_layer(hidden), expected["base_logits"])
    x = net.embed(ids)
    if "embed" in expected:
        assert_near(x, expected["embed"])
        for index, layer in enumerate(net.transformer_layers):
            x = layer(x)
            assert_near(x, expected[f"base_layer_out.{index}"])


@pytest.mark.parametrize("folder", TOP_DOWN, ids=name_of)
def test_golden_second_pass_with_recorded_top_down_features(folder):
    """What a Self-Guidance branch needs of the layers: an input to the value projection, all tokens masked."""
    net, expected = network(folder), tensors(folder / "forward")
    top_down = [expected[f"top_down_feat.{index}"] for index in range(net.config.num_hidden_layers)]
    hidden = net.run(torch.full_like(expected["input_ids"], net.mask_id), Hooks(top_down=top_down))
    assert_near(net.mlm_layer(hidden), expected["toast_logits"])
    zero = net.run(expected["input_ids"], Hooks(top_down=[torch.zeros_like(td) for td in top_down]))
    assert not torch.allclose(zero, expected["base_hidden"], atol=1e-3)


def test_the_branch_in_the_file_is_left_out_of_the_network():
    for folder in FOLDERS:
        stored = index_weights(folder)
        branch = {name for name in stored if name.startswith(TENSORS)}
        assert branch and network(folder).state_dict().keys() == stored.keys() - branch


@pytest.mark.parametrize("file", EMA, ids=lambda path: path.parent.name)
def test_golden_config_of_the_ema_writer(file):
    for config in (file.with_name("config.json"), file):
        assert OpenMuseConfig.from_dict(json.loads(config.read_text())) == network(file.parent).config


@pytest.mark.parametrize(
    "name, change",
    [
        ("use_normformer", lambda value: True),
        ("norm_type", lambda value: "rmsnorm"),
        ("num_classes", lambda value: value - 1),
        ("num_vq_tokens", lambda value: value + 2),  # no square number is 2 after another
        ("num_attention_heads", lambda value: 2 * value + 1),
        ("hidden_size", str),
    ],
)
def test_variants_that_are_not_implemented_are_named(name, change):
    values = settings(FOLDERS[-1] / "config")
    if name == "num_attention_heads":
        values["hidden_size"] = 2 * values[name]  # the change divides it no more
    with pytest.raises(mgt_core.MGTError, match=name):
        OpenMuseConfig.from_dict(values | {name: change(values.get(name))})
    del values[name]
    if "use_" not in name and name != "norm_type":
        with pytest.raises(mgt_core.MGTError, match="lacks"):
            OpenMuseConfig.from_dict(values)


@pytest.mark.parametrize(
    "condition, words",
    [
        (
            mgt_core.Condition(labels=torch.tensor([LABELS])),
            f"label {LABELS}; accepted are 0 to {LABELS - 1}",
        ),
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
    height, width = net.trained_grid
    with pytest.raises(mgt_core.MGTError, match=f"{height} x {width} alone"):
        net.check_grid((height, width + 1))


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
    told = settings(path.parent / "traces")[path.stem.removeprefix("trace_")]
    model = mgt_core.MGTModel(network(path.parent), pixels_per_token=2)
    state = mgt_core.empty_state(
        len(trace["class_ids"]), model.network.trained_grid, model.mask_id, model.codebook_size
    )
    steps = []
    sampler = RecordedTemperatures(values=tuple(told["temperature"]), draws=RecordedDraws(trace).source)
    out = mgt_core.sample(
        model,
        state,
        mgt_core.Condition(labels=trace["class_ids"]),
        sampler=sampler,
        schedule=told["noise_schedule"].removesuffix("_schedule"),
        steps=told["timesteps"],
        cfg=1.0,
        callback=steps.append,
    )
    for index, step in enumerate(steps):
        assert agree(step.tokens.flatten(1), trace["tokens_in"][index]), f"step {index}"
        if index < len(steps) - 1:
            assert agree(step.result.tokens.flatten(1), trace["tokens_out"][index]), f"step {index}"
    assert agree(out.tokens.flatten(1), trace["final_tokens"])


def test_an_image_does_not_depend_on_its_batch():
    net = network(FOLDERS[-1])
    model = mgt_core.MGTModel(net, pixels_per_token=2)

    def run(labels: list[int], seed: int) -> torch.Tensor:
        state = mgt_core.empty_state(len(labels), net.trained_grid, net.mask_id, net.codebook_size)
        condition = mgt_core.Condition(labels=torch.tensor(labels))
        return mgt_core.sample(model, state, condition, steps=4, cfg=1.0, seed=seed).tokens

    first, last = 0, LABELS - 1
    together = run([first, last], 5)
    assert agree(together, torch.cat([run([first], 5), run([last], 6)]))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("part", ["attention", "mlp", "both"])
def test_merging_changes_the_network_and_ratio_zero_does_not(part):
    net = network(FOLDERS[-1])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(net.codebook_size, (2, *net.trained_grid), generator=generator).to(DEVICE)
    prepared = Prepared(net.codebook_size + torch.tensor([[0], [LABELS - 1]], device=DEVICE), net.trained_grid)
    timestep = torch.zeros(1, device=DEVICE)
    plain = net.features(tokens, timestep, prepared)

    def features(ratio: float) -> torch.Tensor:
        merging = ActiveMerging(mgt_core.TokenMerging(ratio, blocks="all", part=part))
        merging.begin([False] * len(tokens))
        return net.features(tokens, timestep, prepared, Hooks(merging))

    assert torch.equal(features(0.0), plain)
    changed = features(0.5)
    assert changed.shape == plain.shape and not torch.allclose(changed, plain, atol=1e-3)

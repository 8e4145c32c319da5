"""LoRA beside the layers gives what the merged weights give, over packed weights too, and touches nothing."""

import copy
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import mgt_core
from mgt_core.adapters.attach import adapt, grafted
from mgt_core.adapters.lora import LoRA, LowRank
from mgt_core.kernels.fused_linear import published_modules
from support.bundles import amused_bundle, openmuse_bundle
from support.device import DEVICE, HERE
from support.golden import bundles, pipeline
from support.loras import linear_layers, logits, low_rank_pairs, save_diffusers, save_kohya, save_peft
from support.pack import ALIAS, load_pack

ALPHA, RANK = 8.0, 2
NODES = load_pack().NODE_CLASS_MAPPINGS
host = sys.modules[f"{ALIAS}.nodes.host"]


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


@pytest.fixture(scope="module")
def pairs(pipe):
    return low_rank_pairs(pipe.model.network)


@pytest.fixture(scope="module")
def file(pairs, tmp_path_factory):
    return save_peft(tmp_path_factory.mktemp("lora") / "style", pairs, ALPHA)


def merged(model, pairs, scale):
    """The model with W + scale B A in the place of W."""
    network = copy.deepcopy(model.network)
    state = network.state_dict()  # views of fused weights, too
    with torch.inference_mode():
        for name, (down, up) in pairs.items():
            weight = state.get(f"{name}.weight")
            weight = state[f"{network.renamed(name)}.weight"] if weight is None else weight
            weight += scale * (up @ down).to(DEVICE)
    return SimpleNamespace(network=network, model=mgt_core.MGTModel(network, model.pixels_per_token))


@pytest.mark.parametrize("strength", [1.0, 0.35, -0.5])
def test_it_is_the_merged_weights(pipe, pairs, file, strength):
    expected = logits(pipe, merged(pipe.model, pairs, strength * ALPHA / RANK).model)
    got = logits(pipe, pipe.model.with_lora(file, strength))
    assert (expected - logits(pipe)).abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("layout", ["peft folder", "diffusers", "kohya"])
def test_layouts_of_files(pipe, pairs, file, tmp_path, layout):
    source = {
        "peft folder": lambda: file.parent,
        "diffusers": lambda: save_diffusers(tmp_path / "style.safetensors", pairs, ALPHA),
        "kohya": lambda: save_kohya(tmp_path / "style.safetensors", pairs, ALPHA),
    }[layout]()
    assert torch.equal(logits(pipe, pipe.model.with_lora(source)), logits(pipe, pipe.model.with_lora(file)))


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, ALPHA / RANK),
        ({"use_rslora": True}, ALPHA / RANK**0.5),
        ({"lora_alpha": None}, 1.0),
        ({"alpha_pattern": {"context_embedder": 1.0, "net.2": 1.0, "to_[qkv]": 1.0}}, 1.0 / RANK),
    ],
)
def test_scale_of_pefts_settings(pipe, pairs, tmp_path, settings, scale):
    lora = mgt_core.LoRA.load(save_peft(tmp_path, pairs, ALPHA, **settings))
    assert {update.scale for update in lora.updates.values()} == {scale}


def test_strength_0_is_the_model_itself(pipe, file):
    assert pipe.model.with_lora(file, 0.0) is pipe.model


def test_nothing_is_changed_and_the_weights_are_shared(pipe, file):
    before = logits(pipe)
    adapted = pipe.model.with_lora(file, 3.0)
    logits(pipe, adapted)
    assert torch.equal(logits(pipe), before)
    own = {id(p) for p in pipe.model.network.parameters()}
    shared = {id(p) for p in adapted.network.parameters()}
    assert own <= shared
    count = sum(len(module.adapters) for module in adapted.network.modules() if hasattr(module, "adapters"))
    assert len(shared - own) == 2 * count == 2 * len(mgt_core.LoRA.load(file).updates)
    assert type(adapted.network) is type(pipe.model.network)


def test_several_add_up_in_any_order(pipe, pairs, file, tmp_path):
    other = low_rank_pairs(pipe.model.network, rank=3, seed=5, targets=("to_q", "proj_out"))
    second = save_kohya(tmp_path / "second.safetensors", other, 3)
    both = pipe.model.with_lora(file).with_lora(second, 0.5)
    expected = merged(merged(pipe.model, pairs, ALPHA / RANK).model, other, 0.5)
    torch.testing.assert_close(logits(pipe, both), logits(pipe, expected.model), rtol=0, atol=2e-4)
    swapped = pipe.model.with_lora(second, 0.5).with_lora(file)
    torch.testing.assert_close(logits(pipe, both), logits(pipe, swapped), rtol=0, atol=2e-4)
    undone = both.with_lora(second, -0.5)
    torch.testing.assert_close(logits(pipe, undone), logits(pipe, pipe.model.with_lora(file)), rtol=0, atol=2e-4)
    named = [line for line in undone.attached() if "LoRA" in line]
    assert len(named) == 3 and "'second', strength=-0.5" in named[-1]


@pytest.mark.parametrize("scheme", ["w4a16", "w8a16", "fp8"])
def test_over_packed_weights(pipe, pairs, file, scheme):
    """Packed, then adapted: the update is exact beside the coarser weights; in the other order it is the same."""
    small = mgt_core.quantize_pipeline(pipe, scheme).model
    expected = copy.deepcopy(small.network)
    modules = [(path, *named) for (path, _), named in zip(expected.named_modules(), published_modules(expected))]
    for path, full, layer in modules:
        if type(layer).__name__.endswith(("Int4Layer", "Int8Layer", "Float8Layer")):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            plain.weight = nn.Parameter(layer.weight_matrix(), requires_grad=False)
            plain.bias = layer.bias
            if full in pairs:
                down, up = pairs[full]
                plain.weight.data += (up @ down * ALPHA / RANK).to(DEVICE)
            expected = grafted(expected, {path: plain})
    model = mgt_core.MGTModel(expected, small.pixels_per_token)
    adapted = small.with_lora(file)
    torch.testing.assert_close(logits(pipe, adapted), logits(pipe, model), rtol=0, atol=1e-3)
    assert (logits(pipe, adapted) - logits(pipe, small)).abs().max() > 0.1


@pytest.mark.parametrize("family", ["openmuse", "amused"])
def test_other_architectures(tmp_path, family):
    folder = {"openmuse": openmuse_bundle, "amused": amused_bundle}[family](tmp_path / family)
    pipe = mgt_core.load(folder, **HERE)
    names = list(linear_layers(pipe.model.network))
    inner = [n for n in names if not n.startswith(pipe.model.network.uncalled)]
    pairs = low_rank_pairs(pipe.model.network, targets=tuple(inner[1:4]))
    published = {name.removeprefix("uvit."): pair for name, pair in pairs.items()}
    file = save_diffusers(tmp_path / "style.safetensors", published, ALPHA)
    expected = logits(pipe, merged(pipe.model, pairs, ALPHA / RANK).model)
    torch.testing.assert_close(logits(pipe, pipe.model.with_lora(file)), expected, rtol=0, atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    names=st.integers(1, 4),
    rank=st.integers(1, 5),
    rows=st.integers(1, 6),
    width=st.integers(1, 7),
    strength=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
def test_any_rows_of_a_fused_layer(names, rank, rows, width, strength, seed):
    from mgt_core.adapters.attach import AdaptedLayer, Adapter
    from mgt_core.kernels.fused_linear import FusedLinear

    torch.manual_seed(seed)
    layer = FusedLinear([f"part{i}" for i in range(names)], width, rows).requires_grad_(False)
    update = LowRank(torch.randn(rank, width), torch.randn(rows, rank), 2.0)
    place = layer.rows(f"part{seed % names}")
    x = torch.randn(2, 3, width)
    adapted = AdaptedLayer(layer, [Adapter(update, place, strength * update.scale, layer.weight, torch.float32)])
    expected = layer(x)
    expected[..., place] += x @ update.down.T @ update.up.T * strength * 2
    torch.testing.assert_close(adapted(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", ["none", "w4a16", "fp8"])
def test_a_fused_layer_alone(pipe, scheme):
    """What Self-Guidance asks of the projections: the product of one of them, without its bias."""
    network = mgt_core.quantize_pipeline(pipe, scheme).model.network
    layer = network.single_transformer_blocks[0].attn.to_qkv
    pairs = low_rank_pairs(pipe.model.network, targets=("to_k", "to_v"))
    lora = mgt_core.LoRA("a", {name: LowRank(*pair, 1.5) for name, pair in pairs.items()})
    adapted = adapt(network, lora, 1.0)[0].single_transformer_blocks[0].attn.to_qkv
    x = torch.randn(2, 3, layer.in_features, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    for name in layer.names:
        size = layer.out_features // 3
        rows = slice(layer.names.index(name) * size, (layer.names.index(name) + 1) * size)
        for one in (layer, adapted):
            expected = (one(x) - one(torch.zeros_like(x)))[..., rows]
            torch.testing.assert_close(one.product(name, x), expected, rtol=0, atol=1e-4)


# Files that do not fit


def damaged(change):
    def build(pairs, folder):
        file = save_peft(folder, pairs, ALPHA)
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)
        return file

    return build


def rename(tensors):
    for name in list(tensors):
        tensors[name.replace("base_model.model.", "base_model.model.other.")] = tensors.pop(name)


def lose_one(tensors):
    del tensors[next(name for name in tensors if "lora_B" in name)]


def narrow(tensors):
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = tensors[name][:, 1:].contiguous()


def add(name, value):
    return damaged(lambda tensors: tensors.update({name: value}))


def without_rank(tensors):
    for side, shape in (("A", (0, 40)), ("B", (48, 0))):
        tensors[f"{LAYER}.lora_{side}.weight"] = torch.ones(shape)


def with_settings(**changes):
    return lambda pairs, folder: save_peft(folder, pairs, ALPHA, **changes)


def written(pairs, folder, settings):
    file = save_peft(folder, pairs, ALPHA)
    (folder / "adapter_config.json").write_text(settings)
    return file


LAYER = "base_model.model.context_embedder"
BAD = {
    "other names": (damaged(rename), "does not have as linear layers: base_model.model.other"),
    "a matrix is missing": (damaged(lose_one), "without its lora_B.weight"),
    "another width": (damaged(narrow), "another size of model"),
    "no LoRA at all": (add("weight", torch.ones(2)), "no LoRA of linear layers: weight"),
    "magnitudes alone": (add("a.lora_magnitude_vector", torch.ones(2)), "lora_magnitude_vector. of a and no LoRA"),
    "alpha of two numbers": (add(f"{LAYER}.alpha", torch.ones(2)), "alpha for .*context_embedder that is no number"),
    "alpha NaN": (add(f"{LAYER}.alpha", torch.tensor(float("nan"))), "alpha for .*context_embedder that is no number"),
    "alpha infinite": (
        add(f"{LAYER}.alpha", torch.tensor(float("inf"))),
        "alpha for .*context_embedder that is no number",
    ),
    "alpha too large": (add(f"{LAYER}.alpha", torch.tensor(1e308, dtype=torch.float64)), "no number below 1e30"),
    "a name of a page": (add("transformer." * 200 + "x.lora_A.weight", torch.ones(2, 2)), "no LoRA of linear layers"),
    "no rank": (damaged(without_rank), "of rank 0 for .*context_embedder"),
    "whole numbers": (add(f"{LAYER}.lora_A.weight", torch.ones(2, 40, dtype=torch.int8)), "holds torch.int8 and"),
    "numbers beyond float32": (
        add(f"{LAYER}.lora_A.weight", torch.full((2, 40), 1e300, dtype=torch.float64)),
        "not finite numbers",
    ),
    "lora_alpha NaN": (with_settings(lora_alpha=float("nan")), "lora_alpha that is no number"),
    "lora_alpha of 40 digits": (with_settings(lora_alpha=10**39), "lora_alpha that is no number below 1e30"),
    "lora_alpha a list": (with_settings(lora_alpha=[1]), "lora_alpha that is no number"),
    "patterns a list": (with_settings(alpha_pattern=["a"]), "lora_alpha that is no number"),
    "patterns that hang": (with_settings(alpha_pattern={"(a+)+$": 1.0}), r"the pattern '\(a\+\)\+\$' is not read"),
    "settings a list": (lambda pairs, folder: written(pairs, folder, "[1]"), "adapter_config.json holds list"),
    "ranks differ": (add("base_model.model.context_embedder.lora_B.weight", torch.ones(3, 3)), "for .*context_embed"),
    "convolution": (
        damaged(lambda t: t.update({f"embed.conv.lora_{side}.weight": torch.ones(2, 2, 1, 1) for side in "AB"})),
        "embed.conv as 2 -> 2, and this model has 48 -> 48",
    ),
    "token head": (
        lambda pairs, folder: save_kohya(
            folder / "a.safetensors", {"mlm_layer.conv1": (torch.ones(1, 2), torch.ones(2, 1))}, 1
        ),
        "mlm_layer.conv1",
    ),
    "not finite": (damaged(lambda t: next(iter(t.values())).fill_(float("nan"))), "not finite"),
    "alpha is no number": (lambda pairs, folder: save_peft(folder, pairs, "much"), "lora_alpha that is no number"),
    "missing file": (lambda pairs, folder: folder / "none.safetensors", "expected a file of type"),
    "empty": (add("text_encoder.a.lora_A.weight", torch.ones(2, 2)), None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_one_sentence(pipe, pairs, tmp_path, case, caplog):
    build, sentence = BAD[case]
    file = build(pairs, tmp_path)
    if sentence is None:  # tensors of a text encoder are left out, with a warning
        pipe.model.with_lora(file)
        assert "1 tensors for a text encoder" in caplog.text
        return
    with pytest.raises(mgt_core.MGTError, match=sentence) as error:
        pipe.model.with_lora(file, 0.0)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(("factor", "strength"), [(1e38, 1.0), (1e36, 100.0), (1e20, -1.0)])
def test_updates_beyond_what_weights_can_be(pipe, pairs, tmp_path, factor, strength):
    spoiled = {name: (down * factor, up * min(factor, 1e30)) for name, (down, up) in pairs.items()}
    file = save_peft(tmp_path, spoiled, ALPHA)
    with pytest.raises(mgt_core.MGTError, match="changes weights of .* which is more than torch.float32 holds"):
        pipe.model.with_lora(file, strength)


def test_bad_strength(pipe, file):
    with pytest.raises(mgt_core.MGTError, match="strength is 'much'"):
        pipe.model.with_lora(file, "much")


def test_a_model_with_lora_is_not_saved(pipe, file, tmp_path):
    with pytest.raises(mgt_core.MGTError, match="holds the LoRA adapter_model"):
        mgt_core.save_bundle(mgt_core.Pipeline(pipe.model.with_lora(file), *[None] * 4), tmp_path / "out")


# The node


def test_node_lists_files_below_the_folder(monkeypatch, tmp_path, pipe, file):
    monkeypatch.setattr(host, "PACK", tmp_path)
    assert host.loras() == {}
    shutil.copytree(file.parent, tmp_path / "models" / "loras" / "style")
    node = NODES["MGTLoadLoRA"]
    choices = node.INPUT_TYPES()["required"]["lora"][0]
    assert choices == ["none", "style/adapter_model.safetensors"]
    (adapted,) = node().load(pipe.model, choices[1], 1.0)
    assert torch.equal(logits(pipe, adapted), logits(pipe, pipe.model.with_lora(file)))
    assert node().load(pipe.model, "none", 1.0) == (pipe.model,)
    with pytest.raises(mgt_core.MGTError, match="the choices are none, style"):
        node().load(pipe.model, "gone.safetensors", 1.0)


def test_an_alpha_that_is_a_whole_number(tmp_path):
    weights = {"a.lora_A.weight": torch.ones(2, 3), "a.lora_B.weight": torch.ones(4, 2), "a.alpha": torch.tensor(16)}
    save_file(weights, tmp_path / "a.safetensors")
    assert LoRA.load(tmp_path / "a.safetensors").updates["a"].scale == 8.0

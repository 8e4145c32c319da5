"""Loading: file types, shards, the published key set, and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import mgt_core
from support.bundles import (
    MEASURE,
    copy_bundle,
    edit_config,
    edit_weights,
    shard_weights,
    transformer_of_size,
    weights_file,
)
from support.device import DEVICE, HERE, ON_CPU, equal
from support.golden import bundles, label, pipeline

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
NAMES = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
TRANSFORMERS = sorted(bundles()[0].parent.glob("*/transformer/config.json"))


def logits(pipe: mgt_core.Pipeline) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(pipe.model.codebook_size, (1, 4, 4), generator=generator)
    return pipe.model.logits(tokens, pipe.text.encode(["a cat"]), torch.tensor([3]))


@pytest.fixture
def bundle(tmp_path) -> Path:
    return copy_bundle(tmp_path / "bundle")


def load(folder, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(folder, **HERE | chosen)


@pytest.mark.parametrize("stored", DTYPES, ids=NAMES)
@pytest.mark.parametrize("dtype", DTYPES, ids=NAMES)
def test_file_type_and_chosen_type(bundle, stored, dtype):
    for part in ("transformer", "text_encoder", "vqvae"):
        edit_weights(bundle / part, lambda weights: {name: value.to(stored) for name, value in weights.items()})
    pipe = load(bundle, dtype=dtype)
    assert {p.dtype for p in pipe.model.network.parameters()} == {dtype} and pipe.model.dtype == dtype
    assert {p.dtype for p in pipe.text.network.parameters()} == {dtype}
    assert {p.dtype for p in pipe.codec.network.parameters()} == {torch.float32}
    exact = logits(pipeline(bundles()[0]))
    ours = logits(pipe)
    assert ours.dtype == torch.float32
    # bfloat16 keeps 8 bits, and the tiny network amplifies: the run is judged by correlation.
    together = torch.stack([exact.flatten(), ours.flatten()])
    assert float(torch.corrcoef(together)[0, 1]) > (0.9999 if torch.bfloat16 not in (stored, dtype) else 0.99)


def test_default_type_is_float32_on_a_cpu_and_half_elsewhere(bundle):
    expected = torch.float32 if ON_CPU else torch.bfloat16
    assert mgt_core.load(bundle, device=DEVICE).model.dtype == expected


def test_model_is_ready_for_inference(bundle):
    pipe = load(bundle)
    for network in (pipe.model.network, pipe.text.network, pipe.codec.network):
        assert not network.training
        assert not any(value.is_meta or value.requires_grad for value in [*network.parameters(), *network.buffers()])


@pytest.mark.parametrize("parts", [2, 5])
def test_shards(bundle, parts):
    for part in ("transformer", "text_encoder"):
        shard_weights(bundle / part, parts)
    assert torch.equal(logits(load(bundle)), logits(pipeline(bundles()[0])))


def test_plain_file_comes_before_its_variants(bundle):
    file = weights_file(bundle / "transformer")
    for variant in ("fp16", "ema", "non_ema"):
        file.with_name(f"{file.stem}.{variant}.safetensors").write_bytes(b"not read")
    assert torch.equal(logits(load(bundle)), logits(pipeline(bundles()[0])))


def test_position_ids_of_older_files_are_ignored(bundle):
    def add(weights):
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]

    edit_weights(bundle / "text_encoder", add)
    assert torch.equal(logits(load(bundle)), logits(pipeline(bundles()[0])))


@pytest.mark.parametrize("config", TRANSFORMERS, ids=label)
def test_published_keys_are_kept(config):
    folder = config.parent
    network = pipeline(folder.parent).model.network
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    with safe_open(weights_file(folder), "pt") as file:
        published = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        assert ours == published
        assert all(equal(value, file.get_tensor(name)) for name, value in network.state_dict().items())


def test_scheduler_config_is_obeyed(bundle):
    edit_config(bundle / "scheduler", timestep_rule="mask_ratio", defaults={"steps": 16})
    model = load(bundle).model
    assert model.timestep_rule == "mask_ratio" and model.defaults["steps"] == 16


def test_scheduler_folder_may_be_absent(bundle):
    (bundle / "scheduler" / "scheduler_config.json").unlink()
    (bundle / "scheduler").rmdir()
    assert load(bundle).model.timestep_rule == "index"


def test_trained_size_of_the_bundle(bundle):
    scale = load(bundle).codec.scale
    assert load(bundle).size in {(64 * scale, 64 * scale), (32 * scale, 32 * scale)}
    (bundle / "model_index.json").write_text(json.dumps({"sample_size": 96}))
    assert load(bundle).size == (96, 96)


def test_path_may_be_a_string_or_a_path(bundle):
    assert load(str(bundle)).name == load(bundle).name == "bundle"


def test_two_loads_share_no_weights(bundle):
    first, second = load(bundle), load(bundle)
    before = logits(second)
    with torch.no_grad():
        for network in (first.model.network, first.text.network, first.codec.network):
            for value in network.parameters():
                value.zero_()
    assert torch.equal(before, logits(second))


def test_weights_do_not_depend_on_the_file(bundle):
    pipe = load(bundle)
    before = logits(pipe)
    for part in ("transformer", "text_encoder", "vqvae"):
        file = weights_file(bundle / part)
        file.write_bytes(b"\0" * file.stat().st_size)
        file.unlink()
    assert torch.equal(before, logits(pipe))
    if sys.platform == "linux":
        assert str(bundle) not in Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be measured here")
@pytest.mark.parametrize("stored, dtype", [("bfloat16", "bfloat16"), ("float32", "bfloat16")])
def test_loading_peaks_near_the_size_of_the_weights(tmp_path, stored, dtype):
    """Memory high-water mark of a process that loads a transformer, against the weights it ends up with."""
    size = 200 if stored == dtype else 300
    folder = tmp_path / "transformer"
    numbers = transformer_of_size(folder, size, getattr(torch, stored))
    root = Path(mgt_core.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), dtype],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, peak, after = map(int, done.stdout.split())
    assert weights == numbers * 2
    assert after >= 0.95 * weights  # the measure sees the weights at all
    assert peak <= 1.15 * weights + 40 * 2**20

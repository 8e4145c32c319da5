"""Token heads compute in float32 whatever the type of their weights."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import mgt_core
from mgt_core.kernels import widened as module
from mgt_core.kernels.widened import keeping, widened
from support.device import DEVICE, HERE
from support.families import FAMILIES

HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALF)
def test_a_module_is_applied_in_float32_and_keeps_its_weights(dtype):
    module = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7)).to(dtype)
    x = torch.randn(3, 5)
    expected = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7))
    expected.load_state_dict({name: value.float() for name, value in module.state_dict().items()})
    assert torch.equal(widened(module, x), expected(x))
    assert {p.dtype for p in module.parameters()} == {dtype}
    assert torch.equal(widened(module, x.to(dtype)), module(x.to(dtype)))


def test_threads_share_a_module():
    """Whoever computes at the same time finds the weights as they are."""
    module = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(4))).to(torch.bfloat16)
    x = torch.randn(8, 64)
    expected = widened(module, x)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: widened(module, x), range(200)))
    assert all(torch.equal(each, expected) for each in found)
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


def test_copies_are_kept_where_somebody_keeps_them():
    """For the calls of a run; hooks of the module act on its copies too, as those that look for the origin of a NaN."""
    layer, copies, seen = torch.nn.Linear(5, 7).to(torch.bfloat16), {}, []
    x = torch.randn(3, 5)
    with keeping(copies):
        first = widened(layer, x)
        kept = [copy for _, copy in copies.values()]
        handle = layer.register_forward_hook(lambda *_: seen.append(1))
        with keeping({}):
            widened(layer, x)  # others keep their own
        assert torch.equal(widened(layer, x), first) and len(seen) == 2
        handle.remove()
    assert len(kept) == 2 and all(a is b for a, (_, b) in zip(kept, copies.values(), strict=True))
    assert torch.equal(widened(layer, x), first) and len(copies) == 2


def test_a_run_converts_the_head_once(tmp_path, monkeypatch):
    pipe = mgt_core.load(FAMILIES["meissonic"](tmp_path / "model"), dtype=torch.bfloat16, device=DEVICE)
    head, made = pipe.model.network.head, []

    def spied(states):
        logits = head(states)
        made.append({id(copy) for _, copy in module._copies.value.values()})
        return logits

    monkeypatch.setattr(pipe.model.network, "head", spied)
    state = mgt_core.empty_tokens(pipe, *(2 * [64]))
    mgt_core.sample(pipe.model, state, *(pipe.text.encode([text]) for text in ("a cat", "")), steps=4, cfg=3.0)
    assert len(made) >= 4 and len(made[0]) == 3 and all(each == made[0] for each in made)


def test_float32_modules_are_called_as_they_are():
    module, x = torch.nn.Linear(5, 7), torch.randn(3, 5)
    assert torch.equal(widened(module, x), module(x))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_half_precision_weights_are_those_of_a_float32_head(tmp_path, family, dtype):
    """The head of the same weights in float32, on the features that the half-precision network gives."""
    folder = FAMILIES[family](tmp_path / family)
    half = mgt_core.load(folder, dtype=dtype, device=DEVICE).model.network
    whole = mgt_core.load(folder, **HERE).model.network
    whole.load_state_dict({name: value.float() for name, value in half.state_dict().items()})
    width = {"amused": 24, "lumina_dimoo": 32, "mmada": 32}.get(family) or next(
        value.shape[1] for name, value in half.state_dict().items() if "emb" in name and value.ndim == 2
    )
    features = torch.randn(2, 3, width).to(DEVICE, dtype).float()
    if len(half.stage_shares) > 1:  # which has a head for each
        half, whole = (each.at_stage(1, torch.zeros(2, *half.trained_grid).long()) for each in (half, whole))
    ours = half.head(features)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, whole.head(features), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(half.head(features.to(dtype)).float(), ours, atol=1e-6, rtol=0)  # in half it is another

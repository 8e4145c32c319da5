"""Values of the published Di[M]O script, reproduced: its one evaluation from random codes and noisy embeddings."""

from dataclasses import dataclass, field

import pytest

import mgt_core
from mgt_core.samplers import one_step
from support.device import HERE, agree
from support.golden import Spy, assert_near, settings, tensors
from support.muddit import DIMO

HELD = tensors(DIMO / "one_step")
CASES = sorted({key.split(".")[0] for key in HELD if key.endswith(".codes")})


@dataclass(frozen=True)
class Recorded(mgt_core.OneStep):
    """Starts from recorded numbers, and draws the recorded codes."""

    case: str = field(kw_only=True)

    def numbers(self, run):
        return HELD[f"{self.case}.codes"].flatten(1), HELD[f"{self.case}.rand"]


class RecordedDraws:
    def __init__(self, case):
        self.case = case

    def source(self, generators, cells):
        return self

    def categorical(self, logits, step):
        return HELD[f"{self.case}.drawn"].flatten(1).gather(1, step.positions)


@pytest.fixture(scope="module")
def pipe():
    """The flat folder as it is published, beside which nothing of a bundle lies."""
    return mgt_core.load(DIMO / "meissonic", base=DIMO / "base", text=False, **HERE)


def test_golden_tree_holds_cases():
    assert {"topk", "topp"} < set(CASES) and any(f"{case}.image" in HELD for case in CASES)


@pytest.mark.parametrize("case", CASES)
def test_golden_one_step(pipe, case, monkeypatch):
    """Start, logits, what is drawn from, and the picture."""
    told = settings(DIMO / "one_step")["cases"][case]
    condition = mgt_core.Condition(HELD["cond.encoder_hidden_states"], HELD["cond.pooled"], HELD[f"{case}.micro_conds"])
    monkeypatch.setattr(one_step, "normal", lambda shape, seeds, device: HELD[f"{case}.noise"].permute(0, 2, 3, 1))
    before, after, asked = Spy(), Spy(), {}
    limits = mgt_core.TopKTopP(k=told["top_k"], p=told["top_p"] or 1.0)
    model = pipe.model.with_modifier(before).with_modifier(limits).with_modifier(after)
    handle = model.network.embed.register_forward_pre_hook(lambda module, inputs: asked.update(tokens=inputs[0]))
    side = told["grid"] * pipe.codec.scale
    out = mgt_core.sample(
        model,
        mgt_core.empty_tokens(pipe, side, side, batch=2),
        condition,
        sampler=Recorded(
            told["masked"],
            told["noise"],
            case=case,
            softmax_temperature=told["temperature"],
            draws=RecordedDraws(case).source,
        ),
    )
    handle.remove()
    assert agree(asked["tokens"], HELD[f"{case}.start_tokens"])
    if f"{case}.logits" in HELD:
        assert_near(before.seen["logits"] * told["temperature"], HELD[f"{case}.logits"])
    assert_near(after.seen["logits"].softmax(-1), HELD[f"{case}.probs"])
    assert agree(out.tokens, HELD[f"{case}.drawn"])
    if f"{case}.image" in HELD:
        assert_near(pipe.codec.decode(out), HELD[f"{case}.image"].permute(0, 2, 3, 1))

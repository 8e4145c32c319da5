"""Noise regularization, differential sampling and Z-Sampling against the authors' recorded runs."""

import re

import pytest
import torch

import mgt_core
from mgt_core.modifiers.differential import FLOOR, DifferentialState, divergence
from mgt_core.samplers.zsampling import AGAIN, FORWARD
from support.device import agree
from support.golden import GAP, RecordedDraws, Spy, Trace, assert_near, label, run_of, settings, tensors, traces

TRACES = [
    pytest.param(path, id=label(path)) for prefix in ("noise", "differential", "zsample") for path in traces(prefix)
]
ZIGZAG = [p for p in TRACES if p.values[0].name.startswith("zsample")]
DIFFERENTIAL = [p for p in TRACES if settings(p.values[0])["call"].get("low_entropy")]
VANILLA = traces("vanilla")  # compared with the network
VISITS = {"a": FORWARD, "b": AGAIN}


class Replay:
    """A run of ours over a trace, one recorded phase at a time."""

    def __init__(self, path):
        self.path, self.trace, self.guided, self.modified = path, Trace(path), Spy(), Spy()
        call, trace = self.trace.call, self.trace
        self.draws = RecordedDraws(trace)
        model = trace.pipe.model.with_modifier(self.guided)
        self.noise = call.get("add_noise", "none") != "none"
        if self.noise:
            model = model.with_modifier(mgt_core.NoiseRegularization(source=self._recorded_noise))
        self.differential = bool(call.get("low_entropy"))
        if self.differential:
            low, high = trace.settings["entropy_interval"]
            state = trace.state()
            cells = state.grid[0] * state.grid[1]
            assert low == 0
            # Half a position more than recorded, so that rounding of share * cells cannot lose one.
            share = (high + 0.5) / cells
            model = model.with_modifier(mgt_core.DifferentialSampling(share=share))
        model = model.with_modifier(self.modified)
        state = trace.state()
        self.sampler = mgt_core.MaskedZSampling(
            temperature=trace.temperature, inversion_cfg=float(call.get("inversion_cfg", 0.0))
        )
        self.run = run_of(trace, model, state, self.sampler, self.draws)

    def _recorded_noise(self, step, like):
        noise = self.trace[f"{self.draws.phase}.noise"]
        return noise.gather(1, step.positions[..., None].expand(-1, -1, noise.shape[-1]))

    def recorded(self, name):
        return self.trace[f"{self.draws.phase}.{name}"]

    def has(self, name):
        return f"{self.draws.phase}.{name}" in self.trace

    def previous_probabilities(self, phase):
        """The distribution the authors' scheduler held before `phase`; None where it was not recorded."""
        own = [p for p in self.trace.settings["phases"] if not p.endswith(".inv")]
        place = own.index(phase)
        if place:
            key = f"{own[place - 1]}.probs"
            return self.trace[key] if key in self.trace else None
        # Their scheduler carries q into the next run; ours does not, so the test hands it over.
        earlier = self.path.with_name(re.sub(r"run\d+$", f"run{self.run_before}", self.path.name))
        last = settings(earlier)["phases"][-1]
        return tensors(earlier)[f"{last}.probs"]

    @property
    def run_before(self):
        """Number of the run that their scheduler made before this one."""
        return self.trace.settings["run_index_on_same_scheduler"] - 1

    def hand_over_memory(self, phase):
        """Put the recorded memory of differential sampling in place; False where it is not recorded."""
        if not self.differential:
            return True
        memory = next(m for m in self.run.modifiers if isinstance(m, DifferentialState))
        memory.counter = int(self.recorded("inference_steps_before"))
        if memory.counter and phase == self.trace.phases()[-1]:
            return False  # a counter carried over from the run before: alone, a run leaves its last step as it is
        memory.previous = memory.known = None
        if memory.counter:
            memory.previous = self.previous_probabilities(phase)
            if memory.previous is None:
                return False
            memory.known = torch.ones_like(memory.previous[..., 0], dtype=torch.bool)
            memory.previous = memory.previous.clone()
        return True

    def logits(self):
        """Recorded logits [B, N, V] as differential sampling got them."""
        guided = self.recorded("guided_logits").flatten(2).transpose(1, 2)
        return guided + self.recorded("noise_factor") * self.recorded("noise") if self.noise else guided

    def certainty(self, phase):
        """[B, N, 1] what rounding in the recorded probabilities was divided by: where a difference of two was
        sampled from, its sum, as little as that may be."""
        weight = torch.ones_like(self.recorded("probs")[..., :1])
        if self.has("diff_idx"):
            rest = (self.logits().softmax(-1) - self.previous_probabilities(phase)).clamp_min(FLOOR)
            place = self.recorded("diff_idx")[..., None]
            weight = weight.scatter(1, place, rest.sum(-1, keepdim=True).gather(1, place))
        return weight

    def masked_before(self):
        return (self.recorded("tokens_in").flatten(1) == self.run.model.mask_id).sum(1).tolist()

    def check_forward(self, phase, index, visit):
        tokens_in = self.recorded("tokens_in").flatten(1)
        drawn = self.run.draw(index, tokens_in, self.masked_before(), visit=visit)
        kept, where = self.sampler.surest(self.run, drawn), drawn.step.positions
        seen = self.modified.seen
        assert self.run.timestep(tokens_in, index).unique().tolist() == self.recorded("model_timestep").tolist()
        guided = self.recorded("guided_logits").flatten(2).transpose(1, 2)
        ours = self.guided.seen["logits"]
        if ours.shape[1] > where.shape[1]:  # of every cell, as differential sampling sees them
            ours = rows(ours, where)
        assert_near(ours, rows(guided, where))
        if self.noise:
            expected = float(self.recorded("noise_factor"))
            assert mgt_core.NoiseRegularization().sigma(seen["step"]) == pytest.approx(expected, abs=1e-6)
        where_seen = seen["step"].positions
        probabilities, weight = (rows(t, where_seen) for t in (self.recorded("probs"), self.certainty(phase)))
        torch.testing.assert_close(seen["logits"].softmax(-1) * weight, probabilities * weight, atol=GAP, rtol=0)
        assert agree(drawn.tokens.gather(1, where), self.recorded("x0").flatten(1).gather(1, where))
        assert agree(kept.tokens, self.recorded("tokens_out").flatten(1))
        if self.has("mask_len"):
            assert kept.left == self.recorded("mask_len").flatten().tolist()
            confidence = (drawn.log_probability + self.run.noise(drawn)).gather(1, where)
            sure = rows(self.certainty(phase), where)[..., 0]  # the logarithm of a difference magnifies its rounding
            assert_near(confidence * sure, self.recorded("confidence").gather(1, where) * sure)


def rows(table, positions):
    return table.gather(1, positions[..., None].expand(-1, -1, table.shape[-1]))


def test_golden_tree_holds_choices():
    assert {p.values[0].name.split("_")[0] for p in TRACES} >= {"noise", "differential", "zsample"}
    assert DIFFERENTIAL and len(TRACES) + len(VANILLA) == len(traces(""))


@pytest.mark.parametrize("path", TRACES)
@torch.inference_mode()
def test_golden_phase(path):
    """Every recorded phase from its recorded input: guided logits, distribution, draws, counts, tokens."""
    replay = Replay(path)
    compared = 0
    for phase in replay.trace.phases():
        step, _, part = phase.partition(".")
        replay.draws.phase = phase
        index = int(step.removeprefix("step"))
        if part == "inv":
            continue
        if not replay.hand_over_memory(phase):
            continue
        replay.check_forward(phase, index, VISITS.get(part, FORWARD))
        compared += 1
    assert compared


@pytest.mark.parametrize("path", ZIGZAG)
@torch.inference_mode()
def test_golden_inversion(path):
    """The way back of every zigzag step: which cells may be redrawn, what they become, what is masked."""
    replay = Replay(path)
    phases = [p for p in replay.trace.phases() if p.endswith(".inv")]
    for phase in phases:
        index = int(phase[4:6])
        replay.draws.phase = f"step{index:02d}.a"
        assert replay.hand_over_memory(replay.draws.phase)
        key = f"{phase}.tokens_in"
        reached = replay.trace[key]
        replay.draws.phase = f"step{index:02d}.a"
        forward_in = replay.recorded("tokens_in").flatten(1)
        kept = replay.sampler.surest(replay.run, replay.run.draw(index, forward_in, replay.masked_before()))
        assert agree(kept.tokens, reached.flatten(1))
        masked = [count - 1 for count in replay.masked_before()]
        replay.draws.phase = phase
        back = replay.sampler.go_back(replay.run, kept, masked)
        assert agree(back, replay.recorded("tokens_after_inversion").flatten(1))
    assert phases


@pytest.mark.parametrize("path", DIFFERENTIAL)
def test_golden_divergence(path):
    """KL and the chosen positions, from the recorded distributions."""
    replay = Replay(path)
    compared = 0
    for phase in replay.trace.phases():
        replay.draws.phase = phase
        if phase.endswith(".inv") or not replay.has("kl") or not replay.recorded("kl").numel():
            continue
        q = replay.previous_probabilities(phase)
        if q is None or not replay.has("guided_logits"):
            continue
        kl = divergence(replay.logits().softmax(-1), q)
        assert_near(kl, replay.recorded("kl"))
        order = kl.argsort(dim=1, stable=True)
        high = replay.trace.settings["entropy_interval"][1]
        assert agree(order[:, :high].sort(1).values, replay.recorded("diff_idx").sort(1).values)
        compared += 1
    assert compared

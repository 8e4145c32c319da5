"""Is the second calibration worth it? Both kinds of scales on states of prompts that no calibration saw.

    python -m bench.quantization.second_calibration [--seeds 5] [--prompts 16] [--json FILE] [--markdown FILE]

With the int8 scales of either calibration alone, the same packed weights predict the masked tokens of the same states.
The difference, second less first, is taken for every calibration (seed) and held-out prompt; its 95 % interval is a
bootstrap over both, calibrations and prompts drawn anew independently. Calibrated is on sampled states, and as the
paper has it on pictures with captions: without fine-tuning between the calibrations, with the published one, and with
20 times its rate, so that the weights move further. Settings of the scheme are compared with the default likewise.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import mgt_core
from mgt_core.backbones.base import Backbone
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.pictures import picture_tokens
from mgt_core.quantization.quantize import Quantized, quantize
from mgt_core.quantization.schemes import W4A8, Scheme
from mgt_core.quantization.session import Recorded, Session
from mgt_core.quantization.surgery import replaced
from mgt_core.self_guidance.examples import demo_scenes

from ..hardware import in_short
from ..markdown import table
from ..quality import single_objects
from ..quality.statistics import two_way_interval

FIRST = "first calibration alone"
STATES, STEPS, PICTURES = 4, 8, 16  # of each sampled prompt, of its run, and given pictures in their place
FIGURES = ("agreement", "shift", "divergence")
HEAD = "Case | Against | Predictions kept | Difference (points) | Shift | Difference | Divergence (nats) | Difference"


@dataclass(frozen=True)
class Case:
    """scheme, run: of a calibration. pictures: whether it is on pictures. against: the cases it is compared with, FIRST
    for the same with the scales of the first calibration."""

    scheme: Scheme = field(default_factory=W4A8)
    run: Mapping = field(default_factory=dict)
    pictures: bool = False
    against: tuple[str, ...] = (FIRST,)


DEFAULT, EVERYWHERE, ON_PICTURES = "W4A8", "W4A8, int8 inputs everywhere", "W4A8, on pictures"
TUNING = {"finetune": 24, "batch": 4}
CASES = {
    DEFAULT: Case(),
    EVERYWHERE: Case(W4A8(int8_share=1.0)),
    ON_PICTURES: Case(pictures=True),
    "fine-tuned, rate 5e-6": Case(run=TUNING, pictures=True, against=(FIRST, ON_PICTURES)),
    "fine-tuned, rate 1e-4": Case(run=TUNING | {"rate": 1e-4}, pictures=True, against=(FIRST, ON_PICTURES)),
    "scales together": Case(W4A8(condition_scales="together"), against=(DEFAULT,)),
    "scales together, everywhere": Case(W4A8(condition_scales="together", int8_share=1.0), against=(EVERYWHERE,)),
    "int8 outputs": Case(W4A8(outputs="int8"), against=(DEFAULT,)),
    "int8 outputs, everywhere": Case(W4A8(outputs="int8", int8_share=1.0), against=(EVERYWHERE,)),
}


@dataclass(frozen=True)
class HeldOut:
    """States that the float network passes through for prompts of its own, and what it predicts there."""

    session: Session
    states: list[Recorded]
    expected: list[Tensor]

    @classmethod
    def of(cls, pipe: mgt_core.Pipeline, captions: list[str]) -> "HeldOut":
        conditions = pipe.text.encode(captions), pipe.text.encode([""] * len(captions))
        session = Session.of(pipe.model, *conditions, CalibrationRun(steps=STEPS, states=STATES, seed=1000))
        states = session.states()
        return cls(session, states, [logits.log_softmax(-1) for logits in session.logits(pipe.model.network, states)])

    def judge(self, network: Backbone) -> np.ndarray:
        """[FIGURES, prompts], means over the masked cells of each prompt's states. agreement: share whose likeliest
        token stayed; shift: mean change of its log-probability; divergence: KL from the float network."""
        found = np.zeros((len(FIGURES), len(self.session.conditions)))
        for state, wanted, logits in zip(
            self.states, self.expected, self.session.logits(network, self.states), strict=True
        ):
            given, best = logits.log_softmax(-1), wanted.argmax(-1)
            moved = (given - wanted).gather(-1, best[..., None]).abs().mean()
            divergence = (wanted.exp() * (wanted - given)).sum(-1).mean()
            found[:, state.place] += [float((given.argmax(-1) == best).float().mean()), float(moved), float(divergence)]
        return found / STATES


def calibrated(pipe: mgt_core.Pipeline, case: Case, captions: list[str], seed: int) -> Quantized:
    """captions: sampled where the case takes no pictures."""
    run = CalibrationRun(**{"steps": STEPS, "states": 1 if case.pictures else STATES, "seed": seed} | case.run)
    pictures = None
    if case.pictures:
        drawn = islice(demo_scenes(pipe.size), PICTURES * seed, PICTURES * (seed + 1))
        images, captions = zip(*drawn, strict=True)
        pictures = picture_tokens(pipe.model, pipe.codec, torch.from_numpy(np.stack(images)))
    conditions = pipe.text.encode(list(captions)), pipe.text.encode([""] * len(captions))
    return quantize(pipe.model, case.scheme, *conditions, run, pictures=pictures)


def with_first(done: Quantized) -> Backbone:
    """The same packed weights with the scales of the first calibration."""
    layers = packed_layers(done.model.network)
    return replaced(done.model.network, {name: layer.treated(done.first[name]) for name, layer in layers.items()})


def measured(
    pipe: mgt_core.Pipeline, held_out: HeldOut, captions: list[list[str]], cases: Mapping[str, Case]
) -> Iterator[dict]:
    """A row for each case and what it is compared with. captions: of each calibration."""
    values: dict[str, np.ndarray] = {}
    for name, case in cases.items():
        ours, firsts, moved = [], [], []
        for seed, own in enumerate(captions):
            done = calibrated(pipe, case, own, seed)
            with torch.no_grad():
                ours.append(held_out.judge(done.model.network))
                if FIRST in case.against:
                    firsts.append(held_out.judge(with_first(done)))
            scales = [(one.kept_scale, one.input_scale) for one in done.report.layers if one.kept_scale]
            moved.append(float(np.mean([abs(kept / first - 1) for kept, first in scales])))
        values[name] = np.stack(ours)  # [seeds, FIGURES, prompts]
        for other in case.against:
            base = np.stack(firsts) if other == FIRST else values[other]
            yield {"case": name, "against": other, "scales_moved": round(float(np.mean(moved)), 5)} | {
                figure: compared(values[name][:, place], base[:, place]) for place, figure in enumerate(FIGURES)
            }


def compared(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """[seeds, prompts] each."""
    low, high = two_way_interval(ours - theirs)
    means = {"value": float(ours.mean()), "against": float(theirs.mean())}
    return means | {"difference": float((ours - theirs).mean()), "interval95": [low, high]}


def markdown(rows: list[dict]) -> str:
    def difference(held: dict, factor: float, digits: int) -> str:
        low, high = (factor * value for value in held["interval95"])
        return f"{factor * held['difference']:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"

    return table(
        HEAD,
        [
            [
                row["case"],
                row["against"],
                f"{100 * row['agreement']['value']:.1f} %",
                difference(row["agreement"], 100, 2),
                f"{row['shift']['value']:.4f}",
                difference(row["shift"], 1, 4),
                f"{row['divergence']['value']:.4f}",
                difference(row["divergence"], 1, 4),
            ]
            for row in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="calibrations, each on prompts or pictures of its own")
    parser.add_argument("--prompts", type=int, default=16, help="held-out ones that they are judged on")
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    pipe = mgt_core.load("demo", dtype=torch.float32)
    scenes = [scene.caption for scene in single_objects(options.prompts + 2 * options.seeds, 100)]
    held_out, rest = HeldOut.of(pipe, scenes[: options.prompts]), scenes[options.prompts :]
    captions = [rest[2 * seed : 2 * seed + 2] for seed in range(options.seeds)]
    cases = {name: CASES[name] for name in options.only}
    needed = {name: CASES[name] for case in cases.values() for name in case.against if name != FIRST}
    rows = []
    for row in measured(pipe, held_out, captions, needed | cases):
        rows.append(row)
        print(json.dumps(row), flush=True)
        if options.json:
            report = {"hardware": in_short(), "seeds": options.seeds, "prompts": options.prompts, "rows": rows}
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        if options.markdown:
            options.markdown.write_text(markdown(rows))


if __name__ == "__main__":
    main()

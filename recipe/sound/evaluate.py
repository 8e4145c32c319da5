"""Does the sound model play what it is asked? `python -m recipe.sound.evaluate [--json FILE] [--sheet FILE]`

Captions of combinations that training never showed, several seeds of each. The judge hears the waves; beside what was
asked for stand the codec's own reconstructions, and sounds made without a caption, without guidance and by a network
that was not trained.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import mgt_core
from mgt_core.views.plots import new_figure, write_plot

from .judge import judge, scores
from .melodies import FRAMES, HOP, RATE, caption, combinations, draw, is_held_out, render

log = logging.getLogger(__name__)

Asked = tuple[str, str, str]


def asked_for(held_out: bool = True) -> list[Asked]:
    return [combination for combination in combinations() if is_held_out(combination) == held_out]


def generate(
    pipe: mgt_core.Pipeline, asked: list[Asked], seeds: int, *, told: bool = True, seed: int = 0, **settings
) -> Tensor:
    """-> [len(asked) * seeds, samples], the seeds of a caption one after the other.

    told: with the captions, else with none. A call has one caption: a batch's padding would be attended to.
    """
    waves = []
    for number, combination in enumerate(asked):
        prompts = [caption(*combination) if told else ""] * seeds
        positive, negative = pipe.text.encode(prompts), pipe.text.encode([""] * seeds)
        state = mgt_core.empty_sound(pipe, FRAMES * HOP / RATE, seeds)
        state = mgt_core.sample(pipe.model, state, positive, negative, seed=seed + seeds * number, **settings)
        waves.append(pipe.codec.decode(state)[:, 0].cpu())
    return torch.cat(waves)


def untrained(pipe: mgt_core.Pipeline, seed: int = 0) -> mgt_core.Pipeline:
    """The same with matrices of the network drawn anew; changes the loaded network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in pipe.model.network.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5)
    return pipe


def sheet(waves: Tensor, asked: list[Asked], file: Path) -> None:
    """Spectrograms below their captions; what the judge heard instead is in red."""
    verdicts, columns = judge(waves), 3
    rows = -(-len(waves) // columns)
    figure = new_figure((4 * columns, 1.7 * rows))
    window = torch.hann_window(512)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(waves) :]:
        axes.axis("off")
    for axes, wave, combination, verdict in zip(panels.flat, waves, asked, verdicts):
        spectrum = torch.stft(wave, 512, 64, window=window, return_complex=True).abs()
        levels = 20 * torch.log10(spectrum / spectrum.max() + 1e-4)
        axes.imshow(
            levels, origin="lower", aspect="auto", cmap="magma", vmin=-60, extent=(0, len(wave) / RATE, 0, RATE / 2000)
        )
        right = verdict.agrees(combination)["all three"]
        axes.set_title(
            caption(*combination) + ("" if right else f"\n{verdict.sound.caption}"),
            fontsize=8,
            color="k" if right else "r",
        )
        axes.tick_params(labelsize=6)
    write_plot(figure, file, kind=file.suffix.removeprefix("."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo-sound", help="bundle folder; default: the built-in one")
    parser.add_argument("--seeds", type=int, default=16, help="sounds of each caption")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pipe = mgt_core.load(options.model)
    asked = asked_for()
    every = [combination for combination in asked for _ in range(options.seeds)]
    made = generate(pipe, asked, options.seeds, seed=options.seed)
    length = made.shape[1]
    rng = np.random.default_rng(options.seed)
    real = torch.from_numpy(np.stack([render(draw(rng, combination)) for combination in every]))[:, :length]
    rebuilt = pipe.codec.decode(pipe.codec.encode(real[:, None]))[:, 0].cpu()
    figures = {
        "settings": dict(pipe.model.defaults),
        "generated": scores(made, every),
        "captions of training": scores(*_of_training(pipe, options)),
        "without guidance": scores(generate(pipe, asked, options.seeds, seed=options.seed, cfg=1.0), every),
        "without a caption": scores(generate(pipe, asked, options.seeds, seed=options.seed, told=False), every),
        "codec reconstructions": scores(rebuilt, every),
        "real sounds": scores(real, every),
    }
    figures["not trained"] = scores(generate(untrained(pipe), asked, options.seeds, seed=options.seed), every)
    log.info(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.sheet:
        sheet(made[:: options.seeds], asked, options.sheet)


def _of_training(pipe: mgt_core.Pipeline, options: argparse.Namespace) -> tuple[Tensor, list[Asked]]:
    asked, seeds = asked_for(held_out=False), max(1, options.seeds // 4)
    made = generate(pipe, asked, seeds, seed=options.seed + 100_000)
    return made, [combination for combination in asked for _ in range(seeds)]


if __name__ == "__main__":
    main()

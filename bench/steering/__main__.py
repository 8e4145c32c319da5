"""`python -m bench.steering --out FILE` writes a table as Markdown; `--tune` on the prompts before those reported."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import mgt_core
from mgt_core.files import written_whole
from recipe.data.scenes import Scene, held_out_pairs
from recipe.data.subjects import load_subjects
from recipe.judge.reading import judge_pairs
from recipe.judge.scores import share

from ..markdown import percent, table
from ..quality.decoding import right
from ..quality.statistics import Mean, sign_p
from .arms import Arm, arms, hard, tuning
from .reward import RegionColours, of_layouts

TUNED = 24  # prompts, the first ones
BATCH = 12
HEAD = "sampler | calls | right and well drawn | gained / lost | p | reward"


def run_arm(pipe: mgt_core.Pipeline, arm: Arm, scenes: list[Scene], reward: RegionColours, seed: int) -> dict:
    """Picture i of the seed `seed + i`. good: whether it shows what was asked for, drawn as well as the codec can."""
    text, calls, pictures = pipe.text, [], []
    for first in range(0, len(scenes), BATCH):
        captions = [scene.caption for scene in scenes[first : first + BATCH]]
        out = mgt_core.sample(
            hard(pipe.model),
            mgt_core.empty_tokens(pipe, *pipe.size, batch=len(captions)),
            text.encode(captions),
            sampler=moved(arm.sampler, first, len(captions)),
            steps=arm.steps,
            cfg=1.0,
            seed=seed + first,
            callback=lambda step: calls.append(step.calls),
        )
        pictures.append(pipe.codec.decode(out).cpu())
    pictures = torch.cat(pictures)
    verdicts = judge_pairs(pictures.numpy())
    good = right(scenes, verdicts) & np.array([verdict.good for verdict in verdicts])
    reached = reward.score(pictures, range(len(scenes))).double().numpy()
    return {"name": arm.name, "calls": max(calls), "good": good.tolist(), "reward": reached.tolist()}


def moved(sampler: mgt_core.Sampler, first: int, count: int) -> mgt_core.Sampler:
    """With the rewards of a batch's own prompts."""
    reward = getattr(sampler, "reward", None)
    if reward is None:
        return sampler
    here = slice(first, first + count)
    return replace(sampler, reward=RegionColours(reward.masks[here], reward.colours[here]))


def rows(found: list[dict]) -> list[list[str]]:
    """Every arm against the first, prompt by prompt."""
    plain = np.array(found[0]["good"])
    lines = []
    for arm in found:
        own, reward = np.array(arm["good"]), Mean.of(np.array(arm["reward"]))
        gained, lost = int((own & ~plain).sum()), int((plain & ~own).sum())
        told = f"{1000 * reward.value:.1f} ± {1000 * (reward.interval[1] - reward.value):.1f}"
        against = ["–", "–"] if arm is found[0] else [f"{gained} / {lost}", f"{sign_p(gained, lost):.2g}"]
        lines.append([arm["name"], str(arm["calls"]), percent(share(int(own.sum()), len(own))), *against, told])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("steering.md"))
    parser.add_argument("--prompts", type=int, default=36)
    parser.add_argument("--seed", type=int, default=100_000)
    parser.add_argument("--tune", action="store_true")
    chosen = parser.parse_args()
    every = held_out_pairs(load_subjects(), TUNED + chosen.prompts)
    scenes = every[:TUNED] if chosen.tune else every[TUNED:]
    pipe, reward = mgt_core.load("demo"), of_layouts(scenes)
    found = []
    for arm in (tuning if chosen.tune else arms)(reward):
        found.append(run_arm(pipe, arm, scenes, reward, chosen.seed))
        with written_whole(chosen.out) as place:
            place.write_text(table(HEAD, rows(found)), encoding="utf-8")
        print(table(HEAD, rows(found)), flush=True)
    chosen.out.with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()

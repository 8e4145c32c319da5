"""What evaluating the token head on masked cells only saves, and that the tokens stay the same.

    python -m bench.speed.head [--vocabulary 8192] [--grid 32]

The network is a thin Meissonic with random weights and a head as wide as asked for; the saving does not
depend on the weights.
"""

import argparse
import json
import platform
import time

import torch

import mgt_core
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer

from .rows import WholeTable


def build(vocabulary: int) -> mgt_core.MGTModel:
    """Width 256, 2 joint and 4 single blocks."""
    config = MeissonicConfig(
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=64,
        num_attention_heads=4,
        joint_attention_dim=64,
        pooled_projection_dim=256,
        axes_dims_rope=(16, 24, 24),
        vocab_size=vocabulary + 64,
        codebook_size=vocabulary,
        downsample=True,
        upsample=True,
    )
    torch.manual_seed(0)
    return mgt_core.MGTModel(MeissonicTransformer(config).eval().requires_grad_(False), pixels_per_token=16)


def run(model: mgt_core.MGTModel, grid: int, steps: int) -> tuple[torch.Tensor, float]:
    """Tokens and seconds of a guided run."""
    torch.manual_seed(1)
    positive, negative = (
        mgt_core.Condition(hidden=torch.randn(1, 77, 64), pooled=torch.randn(1, 256)) for _ in range(2)
    )
    state = mgt_core.empty_state(1, (grid, grid), model.mask_id, model.codebook_size)
    started = time.perf_counter()
    out = mgt_core.sample(model, state, positive, negative, steps=steps, cfg=3.0, seed=0)
    return out.tokens, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--grid", type=int, default=32, help="tokens on a side")
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    masked = build(options.vocabulary)
    whole = masked.with_modifier(WholeTable())
    run(masked, options.grid, 2)  # warm-up
    seconds = {"masked": [], "whole": []}
    for _ in range(3):
        tokens_masked, spent = run(masked, options.grid, options.steps)
        seconds["masked"].append(spent)
        tokens_whole, spent = run(whole, options.grid, options.steps)
        seconds["whole"].append(spent)
    left = [options.grid**2, *mgt_core.SCHEDULES.get("cosine")().counts(options.steps, options.grid**2)]
    figures = {
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, float32, batch 1",
        "grid": options.grid,
        "vocabulary": options.vocabulary,
        "steps": options.steps,
        "rows_evaluated": round(sum(left[:-1]) / (options.steps * options.grid**2), 3),
        "time_against_whole_table": round(min(seconds["masked"]) / min(seconds["whole"]), 3),
        "same_tokens": bool(torch.equal(tokens_masked, tokens_whole)),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""What each decoding choice does to the built-in model's pictures, from the same prompts and seeds.

    python -m bench.quality [--quick] [--json FILE] [--markdown FILE] [--sheet FILE]

Prompts pair subjects with backgrounds in combinations that training never showed; a judge that reads
pixels says what it sees. Every case is compared with vanilla MaskGIT, prompt by prompt.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import mgt_core
from mgt_core.demo.compose import Scene, held_out_scenes
from mgt_core.demo.evaluate import score
from mgt_core.demo.judge import Verdict
from mgt_core.demo.subjects import load_subjects

from .rows import APPROXIMATE, attach_all

BATCH = 20
SHEET_PROMPTS = 8
VANILLA = "vanilla"


@dataclass(frozen=True)
class Case:
    """One way to decode. attach: what is added to the model; settings: what differs in `sample`."""

    name: str
    attach: Callable[[mgt_core.MGTModel], mgt_core.MGTModel] = lambda model: model
    settings: dict = field(default_factory=dict)


def with_modifier(modifier: mgt_core.Modifier) -> Callable[[mgt_core.MGTModel], mgt_core.MGTModel]:
    return lambda model: model.with_modifier(modifier)


def cases(steps: int) -> list[Case]:
    """Vanilla first, then each choice alone, then vanilla at the network calls that the dear ones take."""
    shapes = [name for name in mgt_core.list_schedules() if name not in ("cosine", "pow", "custom")]
    return [
        Case(VANILLA),
        *(Case(f"{name} schedule", settings={"schedule": name}) for name in shapes),
        Case("noise regularization, amplitude 2", with_modifier(mgt_core.NoiseRegularization(2.0))),
        Case("noise regularization, amplitude 0.5", with_modifier(mgt_core.NoiseRegularization(0.5))),
        Case("differential sampling, share 0.75", with_modifier(mgt_core.DifferentialSampling(0.75))),
        Case("differential sampling, share 0.25", with_modifier(mgt_core.DifferentialSampling(0.25))),
        Case("entropy temperature", with_modifier(mgt_core.EntropyTemperature())),
        Case("top-k 50, top-p 0.9", with_modifier(mgt_core.TopKTopP(50, 0.9))),
        Case(
            "guidance in the first 60 % of steps",
            lambda model: model.with_guidance(mgt_core.GuidanceSchedule(start=0.0, end=0.6)),
        ),
        Case("rising guidance", lambda model: model.with_guidance(mgt_core.GuidanceSchedule(shape="rising"))),
        Case("token merging 0.3, all blocks", lambda model: model.with_token_merging(0.3)),
        Case("token merging 0.5, all blocks", lambda model: model.with_token_merging(0.5)),
        Case("token merging 0.7, all blocks", lambda model: model.with_token_merging(0.7)),
        Case("token merging 0.5, known tokens", lambda model: model.with_token_merging(0.5, known_only=True)),
        Case("token cache 0.25, every 4", lambda model: model.with_token_cache(0.25, every=4)),
        Case("token cache 0.1, every 8", lambda model: model.with_token_cache(0.1, every=8)),
        Case("guidance reuse, every 2", lambda model: model.with_guidance_reuse(2)),
        Case("guidance reuse, every 4", lambda model: model.with_guidance_reuse(4)),
        Case("all approximate", partial(attach_all, APPROXIMATE)),
        Case("momentum 0.5", settings={"sampler": "momentum"}),
        Case("Z-Sampling", settings={"sampler": "zsampling"}),
        Case("masked Z-Sampling", settings={"sampler": "masked_zsampling"}),
        Case(
            "masked Z-Sampling, first half of steps",
            settings={"sampler": mgt_core.MaskedZSampling(start=0.0, end=0.5)},
        ),
        Case(f"{VANILLA}, twice the steps", settings={"steps": 2 * steps}),
        Case(f"{VANILLA}, three times the steps", settings={"steps": 3 * steps}),
    ]


@dataclass(frozen=True)
class Outcome:
    """What a case made of the prompts. images: [P, H, W, 3]; tokens: [P, h, w]; calls and passes (a guided
    call is two) an image; seconds in all."""

    images: np.ndarray
    tokens: torch.Tensor
    verdicts: list[Verdict]
    figures: dict
    calls: int
    passes: int
    seconds: float


def run_case(pipe: mgt_core.Pipeline, case: Case, scenes: list[Scene], settings: dict, seed: int) -> Outcome:
    """Decode every prompt once; prompt i always gets the seed `seed + i`."""
    model, options = case.attach(pipe.model), settings | case.settings
    if isinstance(options.get("sampler"), mgt_core.ConfidenceSampler):
        options["sampler"] = replace(options["sampler"], temperature=options.pop("temperature"))
    calls, tokens, images = [], [], []
    started = time.perf_counter()
    for start in range(0, len(scenes), BATCH):
        prompts = [scene.caption for scene in scenes[start : start + BATCH]]
        state = mgt_core.empty_tokens(pipe, *pipe.size, batch=len(prompts))
        state = mgt_core.sample(
            model,
            state,
            pipe.text.encode(prompts),
            pipe.text.encode(""),
            seed=seed + start,
            callback=lambda step: calls.append((step.calls, step.passes)),
            **options,
        )
        tokens.append(state.tokens)
        images.append(pipe.codec.decode(state).cpu().numpy())
    seconds = time.perf_counter() - started
    pictures = np.concatenate(images)
    figures, verdicts = score(scenes, pictures)
    most_calls, most_passes = (max(counts) for counts in zip(*calls, strict=True))
    return Outcome(pictures, torch.cat(tokens), verdicts, figures, most_calls, most_passes, seconds)


def compare(scenes: list[Scene], outcome: Outcome, vanilla: Outcome) -> dict:
    """Figures of a case and, prompt by prompt, what it gained and lost against vanilla."""
    names = [load_subjects()[scene.items[0].subject].name for scene in scenes]

    def right(of: Outcome) -> np.ndarray:
        seen = zip(of.verdicts, names, scenes, strict=True)
        return np.array([v.subject == name and v.colour == scene.colour for v, name, scene in seen])

    ours, theirs = right(outcome), right(vanilla)
    return {
        **outcome.figures,
        "gained": int((ours & ~theirs).sum()),
        "lost": int((~ours & theirs).sum()),
        "judge_distance": round(float(np.mean([v.distance for v in outcome.verdicts])), 3),
        "tokens_as_vanilla": round(float((outcome.tokens == vanilla.tokens).float().mean()), 3),
        "calls": outcome.calls,
        "passes": outcome.passes,
        "relative_time": round(outcome.seconds / vanilla.seconds, 2),
    }


def markdown(results: dict[str, dict]) -> str:
    lines = [
        "| Choice | Object | Background | Gained / lost | Judge's distance | As vanilla | Calls | Passes | Time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        low, high = (100 * end for end in r["object"]["interval95"])
        lines.append(
            f"| {name} | {100 * r['object']['share']:.1f} % ({low:.0f}–{high:.0f}) | "
            f"{100 * r['background']['share']:.1f} % | {r['gained']} / {r['lost']} | {r['judge_distance']:.3f} | "
            f"{100 * r['tokens_as_vanilla']:.0f} % | {r['calls']} | {r['passes']} | {r['relative_time']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def sheet(rows: dict[str, np.ndarray], scale: int = 2) -> Image.Image:
    """One labelled row of pictures [P, H, W, 3] a case."""
    count, height, width, _ = next(iter(rows.values())).shape
    label = 230
    page = Image.new("RGB", (label + count * (width * scale + 4), len(rows) * (height * scale + 4)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for row, (name, images) in enumerate(rows.items()):
        top = row * (height * scale + 4)
        draw.text((4, top + height * scale // 2 - 6), name, fill="black", font=font)
        for column, image in enumerate(images):
            picture = Image.fromarray((image * 255).round().astype(np.uint8))
            picture = picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            page.paste(picture, (label + column * (width * scale + 4), top))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 prompts instead of 100")
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--sheet", type=Path, help="a picture: one row a case, the first prompts")
    options = parser.parse_args()

    pipe = mgt_core.load("demo")
    settings = {"steps": 16, "cfg": 3.0, "temperature": (1.0, 0.0), **pipe.model.defaults}
    settings["temperature"] = tuple(settings["temperature"])
    scenes = held_out_scenes(load_subjects(), options.prompts or (20 if options.quick else 100))
    run_case(pipe, Case(VANILLA), scenes[:2], settings, options.seed)  # warm-up, so that times compare
    results, pictures, vanilla = {}, {}, None
    for case in cases(settings["steps"]):
        outcome = run_case(pipe, case, scenes, settings, options.seed)
        vanilla = vanilla or outcome
        results[case.name] = compare(scenes, outcome, vanilla)
        pictures[case.name] = outcome.images[:SHEET_PROMPTS]
        print(markdown({case.name: results[case.name]}).splitlines()[-1], flush=True)
    report = {
        "prompts": len(scenes),
        "seed": options.seed,
        "settings": settings,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "sheet_prompts": [scene.caption for scene in scenes[:SHEET_PROMPTS]],
        "results": results,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results))
    if options.sheet:
        sheet(pictures).save(options.sheet, optimize=True)


if __name__ == "__main__":
    main()

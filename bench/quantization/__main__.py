"""What quantization does to the built-in model: size, pictures and the worth of the second calibration.

    python -m bench.quantization [--quick] [--json FILE] [--markdown FILE] [--sheet FILE] [--plot FILE]

Every scheme decodes the same held-out prompts with the same seeds as the float model; the judge reads the
pictures. The second calibration is compared with the first alone on states of prompts that neither saw.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import mgt_core
from bench.quality import Case, compare, run_case, sheet
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.quantization.layers import packed_layers, stored_bytes
from mgt_core.quantization.plots import report_plot
from mgt_core.quantization.quantize import Quantized, quantize
from mgt_core.quantization.schemes import FP8, W4A8, W4A16, W8A8, W8A16, Scheme
from mgt_core.quantization.session import Session, compared
from mgt_core.quantization.surgery import replaced
from mgt_core.views.pictures import to_pil
from recipe.data.scenes import held_out_scenes
from recipe.data.subjects import load_subjects
from recipe.judge.pictures import model_settings

FLOAT = "float32"
SHEET_PROMPTS = 8
CASES: dict[str, Scheme] = {
    "W4A8 (SCQ)": W4A8(),
    "W4A8, fine-tuned": W4A8(reconstruct=40),
    "W4A8, dynamic scales": W4A8(activation_scales="dynamic"),
    "W4A8, int8 inputs everywhere": W4A8(int8_share=1.0),
    "W4A8, groups of 64": W4A8(group_size=64),
    "W4A8, modulation 16 bit": W4A8(keep=("modulation",)),
    "W4A16": W4A16(),
    "W8A8": W8A8(),
    "W8A16": W8A16(),
    "FP8": FP8(),
}
SHARES = (1 / 3, 1.0)


@dataclass(frozen=True)
class Prompts:
    """Captions to calibrate on, and others to compare on."""

    calibration: list[str]
    held_out: list[str]


def calibrated(pipe: mgt_core.Pipeline, scheme: Scheme, captions: list[str], seed: int, states: int) -> Quantized:
    run = CalibrationRun(states=states, seed=seed)
    return quantize(pipe.model, scheme, pipe.text.encode(captions), pipe.text.encode([""] * len(captions)), run)


def second_against_first(pipe: mgt_core.Pipeline, prompts: Prompts, seeds: int, states: int) -> Iterator[dict]:
    """For every share and seed: the change of held-out predictions with the scales of either calibration."""
    count = len(prompts.held_out)
    run = CalibrationRun(states=states, seed=1000)
    session = Session.of(pipe.model, pipe.text.encode(prompts.held_out), pipe.text.encode([""] * count), run)
    held_out = session.record()
    expected = session.replay({}, held_out)
    for share in SHARES:
        for seed in range(seeds):
            captions = prompts.calibration[2 * seed : 2 * seed + 2]
            done = calibrated(pipe, W4A8(int8_share=share), captions, seed, states)
            row = {"share": round(share, 3), "seed": seed}
            for name, scale in (("first", "input_scale"), ("second", "kept_scale")):
                network = replaced(done.model.network, {}, share=False)
                for layer in done.report.layers:
                    if layer.kept_scale:
                        network.get_submodule(layer.name).input_scale.fill_(getattr(layer, scale))
                found = session.replay(packed_layers(network), held_out, expected)
                row[f"{name}_agreement"], row[f"{name}_shift"] = compared(expected, found)
            moved = [abs(one.kept_scale / one.input_scale - 1) for one in done.report.layers if one.kept_scale]
            row["scales_moved"] = sum(moved) / len(moved)
            print(json.dumps(row), flush=True)
            yield row


def markdown(results: dict[str, dict], rows: list[dict]) -> str:
    lines = [
        "| Scheme | MB | Object | Background | Gained / lost | Tokens as float | Predictions as float |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        low, high = (100 * end for end in r["object"]["interval95"])
        agreement = f"{100 * r['agreement']:.1f} %" if "agreement" in r else "-"
        lines.append(
            f"| {name} | {r['megabytes']:.1f} | {100 * r['object']['share']:.1f} % ({low:.0f}–{high:.0f}) | "
            f"{100 * r['background']['share']:.1f} % | {r['gained']} / {r['lost']} | "
            f"{100 * r['tokens_as_vanilla']:.0f} % | {agreement} |"
        )
    lines += [
        "",
        "| Int8 inputs | Seed | Scales moved by | Predictions kept, first | second | Shift, first | second |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {100 * r['share']:.0f} % of layers | {r['seed']} | {100 * r['scales_moved']:.1f} % | "
            f"{100 * r['first_agreement']:.1f} % | {100 * r['second_agreement']:.1f} % | "
            f"{r['first_shift']:.4f} | {r['second_shift']:.4f} |"
            for r in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 prompts and one seed instead of 100 and three")
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--seeds", type=int, help="calibrations with other prompts and seeds, to compare the scales")
    parser.add_argument("--states", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of every run; the model's own number by default")
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--sheet", type=Path, help="a picture: one row a scheme, the first prompts")
    parser.add_argument("--plot", type=Path, help="a picture: error and scales of every layer with the first scheme")
    options = parser.parse_args()

    pipe = mgt_core.load("demo", dtype=torch.float32)
    settings = model_settings(pipe)
    settings |= {"steps": options.steps} if options.steps else {}
    pipe = replace(pipe, model=replace(pipe.model, defaults=settings))
    scenes = held_out_scenes(load_subjects(), options.prompts or (20 if options.quick else 100))
    others = [scene.caption for scene in held_out_scenes(load_subjects(), len(scenes) + 12)[len(scenes) :]]
    prompts = Prompts(others[:8], others[8:])
    report = {
        "prompts": len(scenes),
        "settings": settings,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "sheet_prompts": [scene.caption for scene in scenes[:SHEET_PROMPTS]],
        "results": {},
        "second_calibration": [],
    }

    def note(**found) -> None:
        """What is known so far; a run may take hours on a slow machine."""
        report.update(found)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        if options.markdown:
            options.markdown.write_text(markdown(report["results"], report["second_calibration"]))

    seeds = options.seeds if options.seeds is not None else 1 if options.quick else 3
    rows, results, pictures, plotted = [], {}, {}, None
    for row in second_against_first(pipe, prompts, seeds, options.states) if seeds else ():
        rows.append(row)
        note(second_calibration=rows)
    plain = run_case(pipe, Case(FLOAT), scenes, settings, 0) if options.only else None
    if plain is not None:
        results[FLOAT] = compare(scenes, plain, plain) | {"megabytes": stored_bytes(pipe.model.network) / 1e6}
        pictures[FLOAT] = plain.images[:SHEET_PROMPTS]
    for name in options.only:
        started = time.perf_counter()
        done = calibrated(pipe, CASES[name], prompts.calibration[:2], 0, options.states)
        spent = time.perf_counter() - started
        outcome = run_case(replace(pipe, model=done.model), Case(name), scenes, settings, 0)
        results[name] = compare(scenes, outcome, plain) | {
            "megabytes": done.report.after / 1e6,
            "agreement": done.report.agreement,
            "shift": done.report.shift,
            "largest_layer_error": max(layer.error for layer in done.report.layers),
            "calibration_seconds": round(spent, 1),
        }
        pictures[name] = outcome.images[:SHEET_PROMPTS]
        plotted = plotted or done.report
        print(name, json.dumps(results[name]), flush=True)
        note(results=results)
        if options.sheet:
            sheet(pictures).save(options.sheet, optimize=True)
        if options.plot:
            to_pil(report_plot(plotted)[0]).save(options.plot, optimize=True)


if __name__ == "__main__":
    main()

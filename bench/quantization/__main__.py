"""What quantization does to the built-in model: size and pictures.

    python -m bench.quantization [--quick] [--json FILE] [--markdown FILE] [--sheet FILE] [--plot FILE]

Every scheme decodes the same held-out prompts with the same seeds as the float model; the judge reads the
pictures. What the second calibration is worth is measured by second_calibration.py.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

import mgt_core
from mgt_core.quantization.layers import stored_bytes
from mgt_core.quantization.plots import report_plot
from mgt_core.views.pictures import to_pil
from recipe.judge.pictures import model_settings

from ..hardware import in_short
from ..quality import Case, compare, run_case, sheet, single_objects
from .schemes import CASES, calibrated
from .tables import markdown

FLOAT = "float32"
SHEET_PROMPTS = 8


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 prompts instead of 100")
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--states", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of every run; the model's own number by default")
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--sheet", type=Path, help="a picture: one row a scheme, the first prompts")
    parser.add_argument("--plot", type=Path, help="a picture: error and scales of every layer with the first scheme")
    return parser


def main() -> None:
    options = arguments().parse_args()
    pipe = mgt_core.load("demo", dtype=torch.float32)
    settings = model_settings(pipe)
    settings |= {"steps": options.steps} if options.steps else {}
    pipe = replace(pipe, model=replace(pipe.model, defaults=settings))
    scenes = single_objects(options.prompts or (20 if options.quick else 100))
    calibration = [scene.caption for scene in single_objects(2, len(scenes))]
    report = {
        "prompts": len(scenes),
        "settings": settings,
        "hardware": in_short(),
        "sheet_prompts": [scene.caption for scene in scenes[:SHEET_PROMPTS]],
        "results": {},
    }

    def note(**found) -> None:
        """What is known so far; a run may take hours on a slow machine."""
        report.update(found)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        if options.markdown:
            options.markdown.write_text(markdown(report["results"]))

    results, pictures, plotted = {}, {}, None
    plain = run_case(pipe, Case(FLOAT), scenes, settings, 0) if options.only else None
    if plain is not None:
        results[FLOAT] = compare(scenes, plain, plain) | {"megabytes": stored_bytes(pipe.model.network) / 1e6}
        pictures[FLOAT] = plain.images[:SHEET_PROMPTS]
    for name in options.only:
        started = time.perf_counter()
        done = calibrated(pipe, CASES[name], calibration, 0, options.states)
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
            sheet(pictures).save(options.sheet, optimize=True, quality=85)
        if options.plot:
            to_pil(report_plot(plotted)[0]).save(options.plot, optimize=True, lossless=True)


if __name__ == "__main__":
    main()

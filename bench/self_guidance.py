"""Self-Guidance on the built-in model against vanilla at equal passes, with few steps, where vanilla still errs.

    python -m bench.self_guidance [--branch FILE] [--prompts N] [--json FILE]

Without --branch only the blank canvas is measured. Prompts, seeds and judge are those of bench.quality.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import mgt_core
from mgt_core.backbones.branch import Branch
from mgt_core.recommended import recommended

from .markdown import percent
from .quality import Case, compare, run_case, single_objects


def with_branch(branch: Branch, scale: float) -> Callable[[mgt_core.MGTModel], mgt_core.MGTModel]:
    return lambda model: model.with_self_guidance(branch, scale)


def groups(branches: dict[str, Branch]) -> dict[str, list[Case]]:
    """Vanilla first in each: what the others are compared with."""

    def guided(steps: int, cfg: float, scales: tuple[float, ...]) -> list[Case]:
        return [
            Case(f"{name}, scale {scale:g}, {steps} steps", with_branch(branch, scale), {"steps": steps, "cfg": cfg})
            for name, branch in branches.items()
            for scale in scales
        ]

    return {
        "guidance 2": [
            Case("vanilla, 3 steps", settings={"steps": 3}),
            Case("vanilla, 2 steps", settings={"steps": 2}),
            *guided(2, 2.0, (0.25, 0.5)),
            *guided(3, 2.0, (0.25, 0.5)),
        ],
        "no guidance": [
            Case("vanilla, 6 steps", settings={"steps": 6, "cfg": 1.0}),
            *guided(3, 1.0, (0.5, 1.0)),
            Case("vanilla with guidance 2, 3 steps", settings={"steps": 3}),
        ],
    }


def row(name: str, r: dict) -> str:
    return (
        f"| {name} | {percent(r['object'], 1)} | {100 * r['background']['share']:.1f} % | "
        f"{r['gained']} / {r['lost']} | {r['judge_distance']:.3f} | {100 * r['tokens_as_vanilla']:.0f} % | "
        f"{r['calls']} | {r['passes']} | {r['relative_time']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--branch", type=Path, help="a trained branch")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pipe = mgt_core.load("demo")
    branches = {"blank canvas": mgt_core.fresh_branch(pipe.model.network)}
    if options.branch:
        branches["trained"] = mgt_core.load_branch(options.branch, pipe.model.network)
    settings = {"steps": 3, "cfg": 2.0, "temperature": recommended(pipe.model)["temperature"]}
    scenes = single_objects(options.prompts)
    report = {}
    for title, cases in groups(branches).items():
        print(f"\n{title}", flush=True)
        results, vanilla = {}, None
        for case in cases:
            outcome = run_case(pipe, case, scenes, settings, options.seed)
            vanilla = vanilla or outcome
            results[case.name] = compare(scenes, outcome, vanilla)
            print(row(case.name, results[case.name]), flush=True)
        report[title] = results
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

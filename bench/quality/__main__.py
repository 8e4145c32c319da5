"""What each decoding choice does to the built-in model's pictures, from the same prompts and seeds.

    python -m bench.quality [--completion N] [--rounds N] [--prompts N] …     everything; docs/quality.md is made of it
    python -m bench.quality --quick [--json FILE]                             does docs/quality.json hold here?
    python -m bench.quality --add                                             rows that it lacks; its others stay

Pictures are kept in --work as they are made: a run that was stopped goes on there, and a second process that is started
with the same arguments shares the work. The last one to finish writes DIR/quality.json, DIR/quality.md and its plots.
Remove that folder after a change of the code; other weights or settings get a folder of their own.

After other weights, first: python -m recipe.judge.calibration; python -m bench.quality.suites.tuning
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import mgt_core
from recipe.judge.pictures import model_settings

from ..checks import failed as checks_failed
from ..checks import told as checks_told
from ..ending import in_a_sentence
from ..kept import json_in
from ..markdown import write_page
from ..reports import write_report
from . import adding, quick
from .cases import VANILLA, choices
from .decoding import Case, decode
from .plots import draw_all
from .prompts import prompts
from .report import report, rounded
from .sheet import sheet
from .suites.completion import tuned
from .suites.plan import Extent as SuiteExtent
from .suites.plan import plan as suites_plan
from .suites.plots import draw_suites as plot_suites
from .suites.report import regimes, suites_report
from .suites.store import Chunks
from .suites.store import work as draw_suites
from .tables import PARTS
from .work import Extent, Store, fingerprint, work

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHEET = Path("images", "quality", "choices.webp")
SHOWN = 6  # prompts of the sheet


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bench.quality", description=__doc__.splitlines()[0])
    found.add_argument("--quick", action="store_true", help="check a published report on a few new prompts")
    found.add_argument("--add", action="store_true", help="rows that a published report lacks; its others stay")
    told = "the report that --quick checks and --add adds to"
    found.add_argument("--against", type=Path, default=DOCS / "quality.json", help=told)
    found.add_argument("--json", type=Path, help="with --quick: also write figures and checks to this file")
    found.add_argument("--model", default="demo", help="a bundle trained on the same compositions")
    wide = SuiteExtent
    found.add_argument("--completion", type=int, default=wide.completion, help="scenes of what a hypothesis names")
    found.add_argument("--others", type=int, default=wide.others, help="scenes completed by the other choices")
    found.add_argument("--captions", type=int, default=wide.captions, help="of every axis that captions leave open")
    found.add_argument("--rounds", type=int, default=wide.rounds, help="pictures of every open caption")
    found.add_argument("--prompts", type=int, default=Extent.prompts, help="that name everything, of the choices")
    found.add_argument("--sweep-prompts", type=int, default=Extent.sweep_prompts, help="of what only a sweep asks for")
    found.add_argument(
        "--only", nargs="+", default=(), metavar="CASE", help="cases to make, of named prompts; rows to --add"
    )
    found.add_argument("--seed", type=int, default=Extent.seed)
    found.add_argument("--work", type=Path, default=ROOT / "output" / "quality", help="where pictures are kept")
    found.add_argument("--into", type=Path, default=DOCS, help="folder of quality.json, quality.md and images/quality")
    found.add_argument("--report", action="store_true", help="only write them, from what is kept")
    return found


def say(line: str) -> None:
    print(line, flush=True)


def full(pipe: mgt_core.Pipeline, options: argparse.Namespace) -> int:
    settings, model = model_settings(pipe), fingerprint(pipe)
    extent = Extent(options.prompts, options.sweep_prompts, options.seed)
    store = Store(options.work, model, settings, extent)
    if not options.report:
        warm_up(pipe, settings)
    if options.only:
        plan = work(pipe, settings, extent, store, say, options.only, not options.report)
        say("not all of them are made yet" if plan is None else f"made: {', '.join(plan)}; the report is of everything")
        return 0
    wide = SuiteExtent(options.completion, options.others, options.captions, options.rounds, 0, options.seed)
    chunks, suites = Chunks(options.work, model), suites_plan(settings, wide)
    if tuned()["model"] != model:
        say(f"the number of tokens kept was chosen for the model {tuned()['model']}, and this is {model}")
    if not options.report:
        draw_suites(pipe, suites.jobs, chunks, say)
    plan = work(pipe, settings, extent, store, say, drawing=not options.report)
    if plan is None or not all(chunks.has(job) for job in suites.jobs):
        print("other pictures are being made by another process, which will write the report, or not made yet")
        return 0
    found = report(pipe, model, settings, extent, store, plan)
    found["suites"] = suites_report(suites, chunks, wide)
    found["regimes"] = regimes(found["suites"], found["cases"])
    write(rounded(found), {name: store.read(*plan[name]).images[:SHOWN] for name in found["choices"]}, options.into)
    return 0


def write(found: dict, pictures: dict[str, np.ndarray], into: Path, before: Image.Image | None = None) -> None:
    """Report, page, plots and sheet. pictures: the first of every choice, or of those that come below the sheet
    `before`."""
    images = into / "images" / "quality"
    draw_all(found, images)
    plot_suites(found, images)
    found["sheet_prompts"] = [scene.caption for scene in prompts(found["prompts"])[:SHOWN]]
    sheet(pictures, 112, before).save(into / SHEET, quality=60, method=6)
    write_report(into / "quality.json", found)
    write_page(into / "quality.md", Path(__file__).with_name("page.md"), PARTS, found)
    print(f"wrote {into / 'quality.json'}, quality.md and {images}")


def published_report(file: Path, model: str) -> dict | None:
    """What `file` holds, or None, said on stderr, where that is no report of this model."""
    published = json_in(file)
    if not published.keys() >= {"model", "settings", "cases", "suites"}:
        print(f"{file} is no report of this bench; python -m bench.quality writes one", file=sys.stderr)
        return None
    if published["model"] != model:
        print(f"{file} is of the model {published['model']}, and this is {model}", file=sys.stderr)
        return None
    return published


def add(pipe: mgt_core.Pipeline, options: argparse.Namespace) -> int:
    model = fingerprint(pipe)
    if (published := published_report(options.against, model)) is None:
        return 2
    settings = quick.settings_of(published)
    warm_up(pipe, settings)
    store = Store(options.work, model, settings, adding.extent_of(published))
    found = adding.added(pipe, published, store, Chunks(options.work, model), say, options.only)
    if found is None:
        print("other pictures are being made by another process, which will write the report")
        return 0
    cases = {case.name: case for case in choices(settings) if case.name not in published["cases"]}
    pictures = {name: store.read(cases[name], SHOWN).images for name in found["choices"] if name in cases}
    before = options.against.parent / SHEET
    write(found, pictures, options.into, Image.open(before) if before.is_file() else None)
    return 0


def check(pipe: mgt_core.Pipeline, options: argparse.Namespace) -> int:
    """0 where the published figures hold, 1 where one does not, 2 where they are another model's."""
    model = fingerprint(pipe)
    if (published := published_report(options.against, model)) is None:
        return 2
    settings = quick.settings_of(published)
    extent, started = quick.extent(published), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # what was kept by other code would tell nothing of this
        store = Store(Path(folder), model, settings, extent)
        plan = work(pipe, settings, extent, store, say, quick.cases(published))
        found = report(pipe, model, settings, extent, store, plan, codec=False)
        found["suites"] = quick.suites(pipe, published, Path(folder), say)
    checks = quick.compare(published, found)
    failed = checks_failed(checks)
    print(f"{checks_told(checks)} ({time.perf_counter() - started:.0f} s)")
    if options.json:
        write_report(options.json, found | {"checks": [asdict(each) for each in checks], "held": not failed})
    return bool(failed)


def warm_up(pipe: mgt_core.Pipeline, settings: dict) -> None:
    """So that times of the first case compare."""
    decode(pipe, Case(VANILLA), prompts(3), settings | {"steps": 2}, 0)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    with in_a_sentence("quality"):
        pipe = mgt_core.load(options.model, dtype=torch.float32)
        return (check if options.quick else add if options.add else full)(pipe, options)


if __name__ == "__main__":
    sys.exit(main())

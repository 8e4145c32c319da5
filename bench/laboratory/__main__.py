"""What each decoding choice does where the truth is known, by steps and by errors of the model.

    python -m bench.laboratory [--only STUDY ...] [--into DIR]      everything; docs/laboratory.md is made of it
    python -m bench.laboratory --quick [--json FILE]                does docs/laboratory.json hold here?
    python -m bench.laboratory --add                                cases that it lacks; its figures of others stay

Figures are kept case by case in --work: a run that was stopped goes on there, and a second process that is started with
the same arguments shares the work. The last one to finish writes DIR/laboratory.json, DIR/laboratory.md and its plots.
A change of truths, errors, choices or measures begins a folder of its own; remove it after one of the samplers'.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ..checks import failed as checks_failed
from ..checks import told as checks_told
from ..ending import in_a_sentence
from ..kept import json_in
from ..markdown import write_page
from ..reports import write_report
from . import quick
from .plan import STUDIES
from .plots import draw_all
from .report import report, wanted
from .tables import PARTS
from .work import Store, work

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bench.laboratory", description=__doc__.splitlines()[0])
    found.add_argument("--quick", action="store_true", help="check a published report with other random numbers")
    found.add_argument("--add", action="store_true", help="cases that a published report lacks; its others stay")
    told = "the report that --quick checks and --add adds to"
    found.add_argument("--against", type=Path, default=DOCS / "laboratory.json", help=told)
    found.add_argument("--json", type=Path, help="with --quick: also write figures and checks to this file")
    found.add_argument(
        "--only", nargs="+", default=(), choices=tuple(STUDIES), metavar="STUDY", help="measure: " + ", ".join(STUDIES)
    )
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--work", type=Path, default=ROOT / "output" / "laboratory", help="where figures are kept")
    found.add_argument("--into", type=Path, default=DOCS, help="folder of laboratory.json, .md and images/laboratory")
    found.add_argument("--report", action="store_true", help="only write them, from what is kept")
    return found


def say(line: str) -> None:
    print(line, flush=True)


def full(options: argparse.Namespace) -> int:
    published = published_report(options.against) if options.add else {"seed": options.seed, "cases": {}}
    if published is None:
        return 2
    plan, seed = wanted(tuple(options.only)), published["seed"]
    missing = {case: count for case, count in plan.items() if case.name not in published["cases"]}
    cases = work(missing, Store(options.work, seed), say, not options.report)
    if cases is None:
        print("other cases are being measured by another process, which will write the report, or not measured yet")
        return 0
    if options.only:
        print(f"measured: {len(cases)} cases of {', '.join(options.only)}; the report is of all studies")
        return 0
    cases = {case.name: {**published["cases"], **cases}[case.name] for case in plan}
    found = report(cases, seed)
    options.into.mkdir(parents=True, exist_ok=True)
    draw_all(found, options.into / "images" / "laboratory")
    write_report(options.into / "laboratory.json", found)
    write_page(options.into / "laboratory.md", Path(__file__).with_name("page.md"), PARTS, found)
    print(f"wrote {options.into / 'laboratory.json'}, laboratory.md and {options.into / 'images' / 'laboratory'}")
    return 0


def published_report(file: Path) -> dict | None:
    """What `file` holds, or None, said on stderr, where that is no report."""
    published = json_in(file)
    if not published.keys() >= {"seed", "cases", "hypotheses"}:
        print(f"{file} is no report of this bench; python -m bench.laboratory writes one", file=sys.stderr)
        return None
    return published


def check(options: argparse.Namespace) -> int:
    """0 where the published figures hold, 1 where one does not, 2 where there are none."""
    if (published := published_report(options.against)) is None:
        return 2
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # what was kept by other code would tell nothing of this
        found = work(quick.wanted(published), Store(Path(folder), published["seed"] + quick.FAR), say)
    checks = quick.compare(published, found)
    failed = checks_failed(checks)
    print(f"{checks_told(checks, 64)} ({time.perf_counter() - started:.0f} s)")
    if options.json:
        told = {"cases": found, "checks": [asdict(each) for each in checks], "held": not failed}
        write_report(options.json, told)
    return bool(failed)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    with in_a_sentence("laboratory"):
        return (check if options.quick else full)(options)


if __name__ == "__main__":
    sys.exit(main())

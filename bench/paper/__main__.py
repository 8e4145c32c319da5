"""The choices of "Bag of Design Choices for Inference of High-Resolution MGT" (arXiv 2411.10781) on published weights.

    python -m bench.paper --model FOLDER --prompts hpsv2:100 --judges hps,pick,clip,ir [--choices paper] [--ray ADDRESS]

Makes paired pictures of vanilla and of each choice, and of vanilla at as many passes; has them judged in a second
process; prints win rates with intervals and writes page.md, report.json and pictures into --out. A run that was stopped
goes on there; one with more prompts, choices or judges makes only what is missing, and two at once share the pictures.
Nothing is downloaded: what is missing is named, with where it is to be had. See docs/paper.md.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch

from mgt_core.errors import MGTError
from mgt_core.files import replace_file, waited_for
from mgt_core.loading.layouts import find_bundle

from ..ending import in_a_sentence
from ..sweep.run import Cluster, make, store_of
from ..sweep.spec import DTYPES, PARTS, Spec
from ..sweep.store import Store
from .choices import NEGATIVE, SETS, read_choices
from .judges.base import JUDGES
from .judging import ROOT, Bench
from .page import tables, write
from .pictures import Comparison, Tried, attempt, by_choice
from .prompts import SETS as PROMPTS
from .prompts import read_prompts
from .report import half_width, report
from .score import LIST, kept_scores

OUTPUT = ROOT / "output" / "paper"
ENOUGH = 800  # prompts, of which half the interval is told beside the chosen number's


class Once(logging.Filter):
    """A warning that says the same of every picture is heard once."""

    def __init__(self):
        super().__init__()
        self.heard = set()

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.levelno, record.getMessage()
        new = record.levelno < logging.WARNING or told not in self.heard
        self.heard.add(told)
        return new


@contextlib.contextmanager
def heard_once() -> Iterator[None]:
    """Whoever called this in its own process hears everything again afterwards."""
    filters = {handler: Once() for handler in logging.getLogger().handlers}
    for handler, once in filters.items():
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler, once in filters.items():
            handler.removeFilter(once)


def say(line: str) -> None:
    print(line, flush=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m bench.paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--model", required=True, metavar="FOLDER", help="a bundle, or a built-in model")
    found.add_argument("--prompts", required=True, help=f"{':N, '.join(PROMPTS)}:N or FILE:N; all without a number")
    found.add_argument("--judges", required=True, help=f"some of {','.join(JUDGES)}, with commas between them")
    found.add_argument("--choices", default="paper", help=f"{', '.join(SETS)} or a JSON file of settings by name")
    found.add_argument("--out", type=Path, metavar="DIR", help="folder of this comparison (output/paper/MODEL)")
    found.add_argument(
        "--negative", metavar="TEXT", help="negative prompt (the authors', none with choices from a file)"
    )
    found.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="in pixels (the model's own)")
    found.add_argument("--dtype", choices=list(DTYPES), help="number format of the network (as mgt_core.load has it)")
    found.add_argument("--seed", type=int, default=0, help="of the first prompt; prompt i has seed + i")
    for part in PARTS:
        found.add_argument(f"--{part.replace('_', '-')}", metavar="PATH", help=f"the model's {part} from elsewhere")
    found.add_argument("--prompt-dir", type=Path, metavar="DIR", help="of the named prompts ($MGT_PROMPTS)")
    found.add_argument("--judge-dir", type=Path, metavar="DIR", help="of the judges' weights ($MGT_JUDGES)")
    found.add_argument("--judge-python", action="append", default=[], metavar="NAME=PATH", help="a judge's own Python")
    found.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster: "auto", "ray://host:port", or "local"')
    found.add_argument("--workers", type=int, help="actors on Ray (default: as many as there is room for)")
    found.add_argument("--gpus", type=float, help="GPUs of each actor (1 where the cluster has some)")
    found.add_argument("--plan", action="store_true", help="only make the first pictures, and say what the rest takes")
    return found


def folder(given: Path | None, variable: str, usual: str) -> Path:
    """Named by an option, or an environment variable, or beside the folders of comparisons."""
    return (given or Path(os.environ.get(variable) or OUTPUT.parent / usual)).expanduser().absolute()


def bench_of(options: argparse.Namespace) -> Bench:
    pythons = dict(entry.partition("=")[::2] for entry in options.judge_python)
    for name, path in pythons.items():
        JUDGES.get(name)
        if not path:
            raise MGTError(f"--judge-python is {name!r}; expected NAME=PATH")
    return Bench(folder(options.judge_dir, "MGT_JUDGES", "judges"), pythons)


def comparison_of(options: argparse.Namespace) -> Comparison:
    """Raises MGTError for what no run could use."""
    find_bundle(options.model)
    prompts = read_prompts(options.prompts, folder(options.prompt_dir, "MGT_PROMPTS", "prompts"))
    negative = options.negative
    if negative is None:
        negative = NEGATIVE if options.choices in SETS else ""
    spec = Spec(
        [prompt.text for prompt in prompts],
        read_choices(options.choices),
        [options.seed],
        options.model,
        options.dtype,
        negative,
        options.size,
        {part: path for part in PARTS if (path := getattr(options, part))},
    )
    return Comparison(spec, prompts, options.prompts)


def able(bench: Bench, options: argparse.Namespace, comparison: Comparison) -> tuple[list[str], dict[str, str]]:
    """Judges that can work, and why the others cannot. Raises MGTError where none can."""
    wanted = dict.fromkeys(name.strip() for name in options.judges.split(","))
    why = {name: bench.lacking(name, comparison.prompts) for name in wanted}
    left_out = {name: sentence for name, sentence in why.items() if sentence}
    for sentence in left_out.values():
        say(f"left out: {sentence}")
    if len(left_out) == len(why):
        raise MGTError("no judge is left; nothing was made")
    return [name for name in why if name not in left_out], left_out


def precision(prompts: int) -> str:
    return (
        f"{prompts} prompts: a win rate of 70 % is known to ± {half_width(prompts):.1f} points (95 %); "
        f"{ENOUGH} prompts give ± {half_width(ENOUGH):.1f}"
    )


def plan(tried: Tried, store: Store) -> str:
    """What is to be made, and what it takes."""
    names, prompts = list(tried.comparison.spec.settings), len(tried.comparison.prompts)
    missing = [job.settings_name for job in tried.comparison.jobs() if not store.finished(job)]
    minutes = sum(map(tried.seconds, missing)) / 60
    time = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    return "\n".join(
        (
            *(f"  {name}: {tried.passes(name)} passes, {tried.seconds(name):.2f} s a picture" for name in names),
            f"{len(names)} × {prompts} pictures, {prompts * sum(map(tried.passes, names))} passes",
            f"{len(missing)} pictures are still to be made, about {time} on one worker at the pace of the first",
        )
    )


def judged(
    bench: Bench, names: list[str], out: Path, left_out: dict[str, str], listed: Collection[str]
) -> dict[str, dict]:
    """What each judge says, by its name; one that fails is told and goes to those left out, and so does one without a
    score of every listed picture, whose win rates would be of other pairs than it seems."""
    found = {}
    for name in names:
        kind, weights = JUDGES.get(name), bench.weights(name)
        sentence, scores = bench.score(name, out), kept_scores(out, name, weights)
        unscored = sum(picture not in scores for picture in listed)
        if not sentence and unscored:
            sentence = (
                f"the judge {name} has left {unscored} of {len(listed)} pictures without a score; the same command has "
                "them judged again"
            )
        if sentence:
            say(f"left out: {sentence}")
            left_out[name] = sentence
            continue
        found[name] = {"title": kind.title, "unit": kind.unit, "weights": weights, "scores": scores}
    return found


def list_pictures(out: Path, comparison: Comparison, rows: Mapping[str, dict]) -> list[str]:
    """For the judges; the names of the pictures."""
    listed = []
    for name in comparison.spec.settings:
        for index, prompt in enumerate(comparison.prompts):
            row = rows.get(comparison.job(name, index).name)
            if row and not row["error"]:
                listed.append({"name": row["name"], "file": row["file"], "prompt": prompt.text, "asked": prompt.asked})
    replace_file(out / LIST, json.dumps(listed, indent=1, ensure_ascii=False).encode())
    return [entry["name"] for entry in listed]


def compare(options: argparse.Namespace) -> int:
    """0 where every picture was made and every judge that was asked for has spoken, else 1."""
    bench, comparison = bench_of(options), comparison_of(options)
    names, left_out = able(bench, options, comparison)
    say(precision(len(comparison.prompts)))
    choices = len(comparison.spec.settings)
    say(f"{choices} × {len(comparison.prompts)} pictures, and vanilla's at as many passes; first one of each:")
    out = options.out or OUTPUT / Path(options.model).name
    store, cluster = store_of(comparison.spec, out), Cluster(options.ray, options.workers, options.gpus)
    tried = attempt(comparison, store, cluster)
    for name, sentence in tried.refused.items():
        say(f"left out: {name}, since {sentence}")
    say(plan(tried, store))
    if options.plan:
        return 0
    rows = pictures(tried.comparison, store, cluster)
    failed = [row["error"] for row in rows.values() if row["error"]]
    if failed:
        say(f"{len(failed)} of {len(rows)} pictures could not be made, first: {failed[0]}")
    # The list and the report are one for all processes; what one of them scored the next finds.
    with waited_for(out / LIST, lambda: say("another process is having pictures judged here; waiting for it")):
        judges = judged(bench, names, out, left_out, list_pictures(out, tried.comparison, rows))
        if not judges:
            raise MGTError(
                f"no judge has spoken; the pictures are in {out}, and the same command has them judged again"
            )
        found = report(tried, rows, judges, left_out)
        written = write(out, found, by_choice(tried.comparison, rows))
    say(tables(found))
    say(f"wrote {' and '.join(map(str, written))}")
    return int(bool(failed or left_out))


def pictures(comparison: Comparison, store: Store, cluster: Cluster) -> dict[str, dict]:
    """The row of every picture by its name; what is missing is made."""
    rows: dict[str, dict] = {}
    make(list(comparison.jobs()), store, rows, cluster)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the judges, which have a process of their own
    return {name: row | {"name": name} for name, row in rows.items()}


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with in_a_sentence("paper"), heard_once():
        return compare(options)


if __name__ == "__main__":
    sys.exit(main())

"""One judge's scores of the pictures in a folder: the second process of bench.paper, in a Python that has its packages.

    python -m bench.paper.score --judge clip --judge-dir DIR --work DIR

WORK/scoring.json lists the pictures and their prompts; scores are kept in WORK/scores, by name of the picture and by
the judge's weights, after every batch: a run that was stopped goes on there. While another process scores with the
same weights this one waits, since each writes the whole file.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from PIL import Image

from mgt_core.errors import MGTError, reason
from mgt_core.files import replace_file, waited_for
from mgt_core.files import sweep as sweep_away
from mgt_core.placement import pick_device
from mgt_core.registry import import_modules

from ..kept import json_in, kept
from . import judges
from .judges.base import JUDGES, lacking, weights_of
from .prompts import Prompt

import_modules(judges.__name__, judges.__path__)

LIST = "scoring.json"
LARGEST_LIST = 2**29  # bytes: 200,000 pictures with prompts of 2,000 letters
LISTED = {"name", "file", "prompt", "asked"}  # of every picture in it
BATCH = 16
BROKEN, LACKING = 1, 3  # how the process ends


def scores_file(work: Path, judge: str, weights: str) -> Path:
    revision = JUDGES.get(judge).revision
    return work / "scores" / f"{judge}-{weights}{f'-{revision}' if revision else ''}.json"


def kept_scores(work: Path, judge: str, weights: str) -> dict[str, float]:
    """By name of the picture; none where there are none yet."""
    return kept(scores_file(work, judge, weights), scores_in) or {}


def scores_in(file: Path) -> dict[str, float]:
    """Raises ValueError for a file that holds none."""
    found = json_in(file)
    scores = found.get("scores") if isinstance(found, dict) else None
    if not isinstance(scores, dict) or not all(type(score) in (int, float) for score in scores.values()):
        raise ValueError("it holds no scores")
    return scores


def opened(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return picture.convert("RGB")
    except Exception:  # a broken file fails in many ways
        raise MGTError(f"the picture {file} cannot be read; remove it and run the command again") from None


@torch.inference_mode()
def score(name: str, root: Path, work: Path) -> None:
    """Score what has no score yet. Raises MGTError for weights or pictures that cannot be read."""
    kind, weights = JUDGES.get(name), weights_of(name, root)
    try:
        listed = json_in(work / LIST, LARGEST_LIST)
        if not isinstance(listed, list) or not all(isinstance(e, dict) and LISTED <= e.keys() for e in listed):
            raise ValueError("it is no list of pictures")
    except (OSError, ValueError) as error:
        raise MGTError(f"the list {work / LIST} cannot be read ({reason(error)}); run bench.paper again") from None
    file = scores_file(work, name, weights)
    file.parent.mkdir(exist_ok=True)
    sweep_away(file.parent)
    busy = f"{kind.title}: another process is scoring pictures here; waiting for it"
    with waited_for(file, lambda: print(busy, flush=True)):
        add_scores(name, root, work, weights, listed)


def add_scores(name: str, root: Path, work: Path, weights: str, listed: list[dict]) -> None:
    """Score those of the listed pictures that have no score; the file of scores is this process's to write."""
    kind, scores = JUDGES.get(name), kept_scores(work, name, weights)
    missing = [entry for entry in listed if entry["name"] not in scores]
    print(f"{kind.title}: {len(listed) - len(missing)} of {len(listed)} scores are there already", flush=True)
    if not missing:
        return
    judge = kind(root, pick_device(None))
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        images = [opened(work / entry["file"]) for entry in batch]
        found = judge.score(images, [Prompt(entry["prompt"], asked=entry["asked"]) for entry in batch]).tolist()
        scores |= dict(zip((entry["name"] for entry in batch), found, strict=True))
        told = {"judge": name, "title": kind.title, "unit": kind.unit, "weights": weights, "scores": scores}
        replace_file(scores_file(work, name, weights), json.dumps(told, indent=1).encode())
        print(f"{kind.title}: {len(scores)} of {len(listed)}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.paper.score", description=__doc__.splitlines()[0])
    parser.add_argument("--judge", required=True, help=f"one of {', '.join(JUDGES)}")
    parser.add_argument("--judge-dir", type=Path, required=True, metavar="DIR", help="where its weights lie")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--check", action="store_true", help="only say what it lacks")
    options = parser.parse_args(arguments)
    try:
        if sentence := lacking(options.judge, options.judge_dir):
            print(sentence, file=sys.stderr)
            return LACKING
        if not options.check:
            score(options.judge, options.judge_dir, options.work)
    except MGTError as error:
        print(error, file=sys.stderr)
        return BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What models of 8 billion weights take, with random weights of Lumina-DiMOO's sizes.

    python -m bench.large [--json docs/large.json] [--only sizes block whole] [--side 64] [--folder DIR]

`whole` writes 16 GB of shards into a temporary folder, and takes 6 GB of memory and some ten minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import date
from functools import partial
from pathlib import Path

import torch

from ..hardware import in_short
from .measured import block, load_and_step, write
from .sizes import on_card, table

PARTS = ("sizes", "block", "whole")
ROWS = 308  # a prompt and 256 x 256 pixels


def child(*arguments: str) -> dict:
    """A part in a process of its own, whose peak memory is its own."""
    command = [sys.executable, "-m", "bench.large", "--task", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the figures are written; those of other parts stay")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--side", type=int, default=64, help="pixels of the picture whose step is measured")
    parser.add_argument("--folder", type=Path, help="where the shards are written; a temporary one by default")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        with torch.no_grad():
            told = partial(print, file=sys.stderr, flush=True)
            print(json.dumps(load_and_step(Path(options.task[0]), int(options.task[1]), told)))
        return
    report = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    report |= {"hardware": in_short(), "measured": date.today().isoformat()}
    if "sizes" in options.only:
        report |= {"sizes_gb": table(), "card_gb": on_card()}
    with torch.no_grad():
        if "block" in options.only:
            report["block"] = {"rows": ROWS, "passes": 2, **block(ROWS)}
    if "whole" in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            folder = Path(temporary) / "transformer"
            report["whole"] = {"side": options.side, "float": write(folder)["bytes"]}
            report["whole"] |= child(str(folder), str(options.side))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

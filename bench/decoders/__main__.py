"""docs/decoders.md: every way to decode, what it costs and what is known of it.

python -m bench.decoders             measures calls and time, which takes a minute or two, and writes the page
python -m bench.decoders --report    only writes it, from docs/decoders.json, laboratory.json and quality.json
"""

import argparse
import sys
from pathlib import Path

import torch

import mgt_core

from ..ending import in_a_sentence
from ..kept import json_in
from ..markdown import write_page
from ..quality.report import rounded
from ..reports import write_report
from .measuring import measure
from .tables import PARTS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="bench.decoders", description=__doc__.splitlines()[0])
    found.add_argument("--report", action="store_true", help="only write the page, from what is kept")
    found.add_argument("--into", type=Path, default=DOCS, help="folder of decoders.json and decoders.md")
    return found


def reports(folder: Path) -> dict:
    """What the page is made from."""
    return {
        "costs": json_in(folder / "decoders.json"),
        "laboratory": json_in(DOCS / "laboratory.json"),
        "quality": json_in(DOCS / "quality.json"),
    }


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    with in_a_sentence("decoders"):
        if not options.report:
            pipe = mgt_core.load("demo", dtype=torch.float32)
            costs = measure(pipe, lambda line: print(line, flush=True))
            write_report(options.into / "decoders.json", rounded(costs))
        page = options.into / "decoders.md"
        write_page(page, Path(__file__).with_name("page.md"), PARTS, reports(options.into))
        print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

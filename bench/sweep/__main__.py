"""Pictures of every prompt with every setting and seed, on one machine or many.

    python -m bench.sweep SPEC.json --out DIR [--batch N] [--ray ADDRESS] [--workers N] [--gpus G]

SPEC.json, of which only prompts must be there:

    {"model": "demo", "dtype": "float32", "prompts": ["a red heart"], "negative": "", "seeds": [0, 1],
     "size": [64, 64], "settings": {"plain": {"steps": 8}, "merged": {"steps": 8, "token_merging": {"ratio": 0.5}}}}

Settings are arguments of `mgt_core.sample` (a sampler or schedule by its name, or as an object with its name and
settings), attachments by the name of the model's method without its `with_` (guidance, token_merging, ...), and a
quantization ("w4a8"). "parts" names what of the model lies elsewhere ({"text_encoder": FOLDER}), "batch" how many
pictures of one setting are made together.

Every finished picture is kept in DIR with what made it beside it, so a rerun makes only what is missing, and what
failed; results.csv, results.json and contact_sheet.png sum up what is there and say why a picture is not.
"""

import argparse
import logging
import sys
from pathlib import Path

from mgt_core.errors import shown_text

from ..ending import in_a_sentence
from .run import sweep
from .spec import Spec


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path, metavar="SPEC.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster: "auto", "ray://host:port", or "local"')
    parser.add_argument("--workers", type=int, help="actors on Ray (default: as many as there is room for)")
    parser.add_argument("--gpus", type=float, help="GPUs of each actor (default: 1 where the cluster has some, else 0)")
    parser.add_argument("--batch", type=int, metavar="N", help="pictures of one setting at once (default: the spec's)")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with in_a_sentence("sweep"):
        where = options.ray, options.workers, options.gpus
        rows = sweep(Spec.read(options.spec), options.out, *where, batch=options.batch)
    if failed := [row for row in rows if row["error"]]:
        told = f"{len(failed)} of {len(rows)} pictures failed, and are tried again by the same command; first: "
        sys.exit(shown_text(f"sweep: {told}{failed[0]['error']}"))


if __name__ == "__main__":
    main()

"""What the library does on a card, in so many minutes; docs/device.md says what the figures mean.

python -m bench.device --minutes 8 --json FILE [--reference DIR --python PY]
python -m bench.device --device cpu --tiny --json FILE
python -m bench.device --page [FILE …]
"""

import argparse
import sys
import time
from pathlib import Path

from mgt_core.errors import MGTError

from .aims import aims, costs, rows
from .journal import Journal
from .keeper import keep
from .page import CARDS, PAGE, write
from .table import table


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.device", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("device.json"), help="where the figures go, from the start")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing more is begun")
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand weights: does it all work?")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="a checkout of viiika/Meissonic to run beside")
    parser.add_argument("--python", metavar="PY", help="an interpreter that has what the checkout needs")
    parser.add_argument(
        "--page", type=Path, nargs="*", metavar="FILE", help=f"make {PAGE.name} of these, else of all in {CARDS.name}/"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    options = arguments().parse_args(argv)
    if options.page is not None:
        return write(options.page)
    if (options.reference is None) != (options.python is None):
        sys.exit("bench.device: --reference DIR and --python PY belong together; give both or none")
    try:
        return measured(options)
    except MGTError as why:
        sys.exit(f"bench.device: {why}")


def measured(options: argparse.Namespace) -> int:
    began = time.time()
    journal = Journal(options.json, {"bench": "device", "tiny": options.tiny, "minutes": options.minutes, "parts": {}})
    journal.save()
    given = {"device": options.device, "reference": options.reference, "python": options.python}
    chosen = [f"--{name}={value}" for name, value in given.items() if value is not None]
    chosen += [f"--json={options.json}", f"--began={began}", f"--minutes={options.minutes}"]
    try:
        keep(options.json, chosen + ["--tiny"] * options.tiny, began + 60 * options.minutes)
    finally:  # also of what is there when somebody ends it
        journal = Journal.open(options.json)
        journal.head(aims=aims(journal.held), costs={name: costs(journal.held, name) for name in rows(journal.held)})
        print(table(journal.held), flush=True)
    return 1 if journal.held.get("ended") else 0


if __name__ == "__main__":
    sys.exit(main())

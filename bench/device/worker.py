"""The process that does the work; started by keeper.py, and once more behind a try that broke it."""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before what asks the network is imported

from mgt_core.placement import pick_device  # noqa: E402

from .journal import Journal  # noqa: E402
from .keeper import LOST  # noqa: E402
from .parts import visits  # noqa: E402
from .session import Session  # noqa: E402
from .tries import DeviceLost, Tries  # noqa: E402


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.device.worker", description="Started by bench.device.")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--device", default=None)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--began", type=float, required=True, help="in seconds since the epoch")
    parser.add_argument("--minutes", type=float, required=True)
    return parser


def main() -> None:
    options = arguments().parse_args()
    logging.getLogger("mgt_core").setLevel(logging.ERROR)  # what is to be known is in the journal
    device, journal = pick_device(options.device), Journal.open(options.json)
    session = Session(device, options.tiny, options.reference, options.python)
    journal.head(
        device=str(device),
        dtype=str(session.dtype).removeprefix("torch."),
        size=session.settings.size,
        steps=session.settings.steps,
        cfg=session.settings.cfg,
    )
    try:
        for part, share in visits():
            part.work(session, Tries(journal, part.name, device, options.began + share * 60 * options.minutes))
    except DeviceLost:
        sys.exit(LOST)
    journal.head(seconds=round(time.time() - options.began, 1))


if __name__ == "__main__":
    main()

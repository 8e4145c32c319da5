"""The process that does the work; started by keeper.py, and once more behind a try that broke it."""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before what asks the network is imported

import torch

from mgt_core.errors import MGTError
from mgt_core.placement import pick_device

from .journal import Journal
from .keeper import LOST
from .parts import visits
from .session import Session
from .tries import DeviceLost, Tries


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
    for library in ("mgt_core", "transformers", "diffusers"):  # what is to be known is in the journal
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        device, journal = pick_device(options.device), Journal.open(options.json)
    except MGTError as why:
        sys.exit(f"bench.device: {why}")
    if device.type == "cuda" and device.index is None:  # some of torch.cuda takes none without its number
        device = torch.device("cuda", torch.cuda.current_device())
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

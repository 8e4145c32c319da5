"""The whole recipe: `python -m recipe.sound.train --work DIR`. Run it again to go on where it stopped.

`--only codec` and `--only network` may run at the same time: the tokens are computed before either.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from mgt_core.loading.layouts import BUILT_IN

from .bank import build_bank
from .codebooks import load_books
from .codec_training import load_codec, train_codec
from .layout import export
from .training import cross_entropies, load_network, train_network

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens, checkpoints and logs")
    parser.add_argument("--out", type=Path, help="folder to write; default: WORK/model")
    parser.add_argument("--publish", action="store_true", help="replace the committed model")
    parser.add_argument("--only", choices=("codec", "network"), help="train this part alone and write no model")
    parser.add_argument("--codec-minutes", type=float, default=25)
    parser.add_argument("--codec-steps", type=int, help="instead of minutes")
    parser.add_argument("--minutes", type=float, default=30, help="of the network's training")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--sounds", type=int, default=3000, help="captioned sounds to train on")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    load_books(work)
    if options.only != "network":
        train_codec(work, minutes=None if options.codec_steps else options.codec_minutes, steps=options.codec_steps)
    if options.only != "codec":
        bank = build_bank(work, options.sounds)
        train_network(work, bank, minutes=None if options.steps else options.minutes, steps=options.steps)
    if options.only:
        return
    network, held_out = load_network(work), build_bank(work, 320, held_out=True)
    log.info("cross entropy of each book on held-out captions: %s", cross_entropies(network, held_out))
    log.info("without a caption: %s", cross_entropies(network, held_out, empty=True))
    folder = BUILT_IN["demo-sound"] if options.publish else options.out or work / "model"
    export(folder, network.state_dict(), load_codec(work), load_books(work))
    log.info("now judge it: python -m recipe.sound.evaluate --model %s", folder)


if __name__ == "__main__":
    main()

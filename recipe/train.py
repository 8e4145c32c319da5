"""The whole recipe: `python -m recipe.train --work DIR`. Run it again to go on where it stopped."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from . import MODEL_DIR
from .codec.training import codec_from, train_codec
from .data import drawings
from .data.subjects import read_subjects
from .export import export
from .transformer.start import start_from
from .transformer.token_bank import build_bank
from .transformer.training import train_transformer

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, checkpoints and logs")
    parser.add_argument("--out", type=Path, help="bundle to write; default: WORK/model")
    parser.add_argument("--publish", action="store_true", help="replace the committed subjects, sprites and model")
    parser.add_argument("--codec-minutes", type=float, default=40)
    parser.add_argument("--codec-steps", type=int, help="instead of minutes")
    parser.add_argument("--minutes", type=float, default=90, help="transformer training time")
    parser.add_argument("--steps", type=int, help="transformer steps, instead of minutes")
    parser.add_argument("--scenes", type=int, default=48_000, help="captioned pictures to train on")
    parser.add_argument("--start", type=Path, help="bundle whose weights to begin with, the codec's too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network (needs a C++ compiler)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work = options.work
    work.mkdir(parents=True, exist_ok=True)

    drawings.build(work, publish=options.publish)
    subjects = read_subjects(work / "subjects.json")
    sprites = np.load(work / "sprites.npy")
    if options.start:
        codec_from(work, options.start)
    train_codec(
        work,
        subjects,
        sprites,
        device=options.device,
        steps=options.codec_steps,
        minutes=None if options.codec_steps else options.codec_minutes,
        again=options.start is not None or (work / "transformer_start.pt").exists(),
    )
    bank = build_bank(work, subjects, sprites, count=options.scenes, device=options.device)
    if options.start:
        start_from(work, options.start, subjects)
    train_transformer(
        work,
        bank,
        device=options.device,
        steps=options.steps,
        compiled=options.compile,
        minutes=None if options.steps else options.minutes,
    )
    folder = MODEL_DIR if options.publish else options.out or work / "model"
    export(work, folder)
    log.info("now judge it: python -m recipe.evaluate --model %s", folder)


if __name__ == "__main__":
    main()

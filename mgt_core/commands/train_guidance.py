"""Train a Self-Guidance branch: `python -m mgt_core train-guidance BUNDLE --out FILE`."""

import argparse
from pathlib import Path

import torch

from ..errors import MGTError, whole_number
from ..loading.bundle import load
from ..loading.layouts import BUILT_IN
from ..self_guidance.examples import DEMO, gather_examples
from ..self_guidance.kept import check_output
from ..self_guidance.training import TrainingSettings, train

HELP = "train the branch that Self-Guidance needs, beside a model that is left as it is"
ALL = 10**9
DEMO_COUNT = 8192  # of scenes, which never end
FORMATS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def arguments(parser: argparse.ArgumentParser) -> None:
    default = TrainingSettings()
    parser.add_argument("bundle", help=f"folder of the model, or {' or '.join(BUILT_IN)}")
    parser.add_argument(
        "--out", type=Path, required=True,
        help="the branch to write, ending in .safetensors; its checkpoint, examples and loss plot go beside it, and "
        "the same command goes on where it was stopped",
    )  # fmt: skip
    parser.add_argument(
        "--data",
        help="pictures to learn from: a folder with a .txt caption beside each picture, or with one subfolder a class "
        "in the order of the classes; a .safetensors file of examples; or 'demo', the scenes of the built-in model, "
        "which is the default for it",
    )
    parser.add_argument(
        "--examples", type=int, help=f"take no more pictures than this; all by default, and {DEMO_COUNT} scenes"
    )
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--rate", type=float, default=default.rate, help="learning rate")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--flat", action="store_true",
        help="draw replacement tokens nearly uniformly, as the published code does; by default they come from the "
        "model's own distribution, as the paper has it",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=FORMATS, default="bfloat16", help="number format of the frozen model")
    parser.add_argument("--device")


def run(options: argparse.Namespace) -> None:
    """Raises MGTError for settings that do not go together, before anything is computed."""
    out: Path = options.out
    if out.suffix != ".safetensors":
        raise MGTError(f"--out is {out}; its name must end in .safetensors")
    data = options.data or (DEMO if options.bundle in BUILT_IN else None)
    if data is None:
        raise MGTError("--data is missing; give a folder of pictures or a file of examples")
    settings = TrainingSettings(options.steps, options.batch, options.rate, options.seed, options.flat)
    count = (DEMO_COUNT if data == DEMO else ALL) if options.examples is None else options.examples
    count = whole_number("--examples", count, 1, ALL)
    check_output(out, settings)
    pipe = load(options.bundle, FORMATS[options.dtype], options.device)
    examples = gather_examples(data, pipe, out.with_suffix(".examples"), count)
    train(pipe, examples, out, settings)

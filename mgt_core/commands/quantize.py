"""Quantize a bundle and write it as a new one."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ..errors import MGTError
from ..loading.bundle import load
from ..loading.compose import find_layout
from ..loading.downloads import told_of_downloads
from ..loading.pipeline import Pipeline
from ..quantization.arriving import packed_by
from ..quantization.calibration import Calibration, CalibrationRun
from ..quantization.later import calibrate_packed
from ..quantization.marks import is_packed
from ..quantization.pictures import folder_pictures
from ..quantization.pipeline import calibration_conditions, quantize_codec, quantize_text
from ..quantization.quantize import apply, quantize
from ..quantization.schemes import CONDITION_SCALES, OUTPUTS, SCALES, SCHEMES, Scheme
from ..quantization.storage import bundle_writer

HELP = "quantize a bundle (SCQ or a simpler scheme) and write it as a new one"
RUN = ("steps", "states", "seed", "finetune", "rate", "batch")  # fields of CalibrationRun that are options
log = logging.getLogger(__name__)

Result = TypeVar("Result")


def arguments(parser: argparse.ArgumentParser) -> None:
    how = CalibrationRun()
    parser.add_argument("source", help="a bundle's folder, or the name of a built-in model")
    parser.add_argument("target", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--scheme", choices=SCHEMES.names(), default="w4a8")
    parser.add_argument("--group-size", type=int, help="4-bit weights that share a scale")
    parser.add_argument("--int8-share", type=float, help="share of the layers that take int8 inputs")
    parser.add_argument("--activation-scales", choices=SCALES)
    parser.add_argument("--condition-scales", choices=CONDITION_SCALES, help="of conditional and unconditional rows")
    parser.add_argument("--outputs", choices=OUTPUTS, help="of layers with int8 inputs, where int8 is read next")
    parser.add_argument("--keep", nargs="*", metavar="PATTERN", help='layers left as they are, or "modulation"')
    parser.add_argument("--unranked", nargs="*", metavar="PATTERN", help="layers whose inputs stay, likewise")
    parser.add_argument("--reconstruct", type=int, metavar="STEPS", help="layer-wise fine-tuning of 4-bit weights")
    parser.add_argument("--text", choices=SCHEMES.names(), help="scheme of the text encoder (w8a16, fp8, w4a16)")
    parser.add_argument("--codec", choices=SCHEMES.names(), help="scheme of the codec (w8a16, fp8)")
    parser.add_argument("--prompt", action="append", help="to calibrate on; may be repeated")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER",
        help="pictures to calibrate on instead, with a .txt caption beside each or without; for models of classes with "
        "one subfolder a class in the order of the classes, or without",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="of the sampling that is calibrated on")
    parser.add_argument("--states", type=int, default=how.states, help="of these looked at, or maskings of a picture")
    parser.add_argument("--seed", type=int, default=how.seed)
    parser.add_argument(
        "--finetune", type=int, metavar="STEPS", default=how.finetune,
        help="fine-tune the whole network on these pictures between the calibrations; takes 20 bytes a weight",
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=how.rate, help="learning rate of that")
    parser.add_argument("--batch", type=int, default=how.batch, help="masked pictures in a step of that")
    parser.add_argument("--device")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle of that name")


def run(options: argparse.Namespace) -> None:
    kind = SCHEMES.get(options.scheme)
    given = {f.name: getattr(options, f.name) for f in fields(kind) if getattr(options, f.name) is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    scheme, how = kind(**given), CalibrationRun(**{name: getattr(options, name) for name in RUN})
    if options.pictures and options.prompt:
        raise MGTError("--pictures and --prompt were given; pictures take their captions from the files beside them")
    with bundle_writer(options.target, options.overwrite) as write:
        first = on_the_way(options.source, scheme, how)
        pipe = load(options.source, None, options.device, first, calibrate=False)
        folder = write(*quantized(pipe, first, scheme, how, options))
    size = sum(file.stat().st_size for file in (folder / "transformer").glob("*.safetensors"))
    log.info("%s: the transformer takes %.1f MB", folder, size / 1e6)


def on_the_way(source: str, scheme: Scheme, how: CalibrationRun) -> Scheme | None:
    """What the weights of a bundle are packed by while they are read; None where they are needed in floats, or are
    packed already."""
    with told_of_downloads(source):
        part = find_layout(source).transformer
    if how.finetune or is_packed(part.stored):
        return None
    return packed_by(part.kind, scheme)


def quantized(
    pipe: Pipeline, first: Scheme | None, scheme: Scheme, how: CalibrationRun, options: argparse.Namespace
) -> tuple[Pipeline, Calibration | None]:
    """The bundle quantized, and what the calibration found, where one was made. first: as `on_the_way` has it."""
    calibration = None
    if first is not None:
        if scheme.needs_calibration:
            model, calibration = calibrated(calibrate_packed, pipe, scheme, how, options)
            pipe = replace(pipe, model=model)
    elif scheme.needs_calibration or how.finetune:
        done = calibrated(quantize, pipe, scheme, how, options)
        log.info(done.report.text())
        pipe, calibration = replace(pipe, model=done.model), done.calibration
    else:
        pipe = replace(pipe, model=apply(pipe.model, scheme))
    pipe = replace(pipe, text=quantize_text(pipe.text, options.text), codec=quantize_codec(pipe.codec, options.codec))
    return pipe, calibration


def calibrated(
    by: Callable[..., Result], pipe: Pipeline, scheme: Scheme, how: CalibrationRun, options: argparse.Namespace
) -> Result:
    """The transformer quantized `by` one of the two ways, with a progress bar."""
    if options.pictures:
        pictures, conditions = folder_pictures(options.pictures, pipe)
    else:
        pictures, conditions = None, calibration_conditions(pipe.model, pipe.text, options.prompt)
    with tqdm(desc="calibration", unit="step") as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        return by(pipe.model, scheme, *conditions, how, progress, pictures=pictures)

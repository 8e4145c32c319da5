"""Quantize a bundle and write it as a new one."""

import argparse
import logging
from dataclasses import fields, replace
from pathlib import Path

from tqdm import tqdm

from ..loading.bundle import load
from ..quantization.calibration import PROMPTS, CalibrationRun
from ..quantization.pipeline import calibration_conditions, calibration_file, quantize_codec, quantize_text
from ..quantization.quantize import apply, quantize
from ..quantization.schemes import SCHEMES
from ..quantization.storage import check_target, save_bundle

HELP = "quantize a bundle (SCQ or a simpler scheme) and write it as a new one"
log = logging.getLogger(__name__)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a bundle's folder, or the name of a built-in model")
    parser.add_argument("target", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--scheme", choices=SCHEMES.names(), default="w4a8")
    parser.add_argument("--group-size", type=int, help="4-bit weights that share a scale")
    parser.add_argument("--int8-share", type=float, help="share of the layers that take int8 inputs")
    parser.add_argument("--activation-scales", choices=("static", "dynamic"))
    parser.add_argument("--keep", nargs="*", metavar="PATTERN", help='layers left as they are, or "modulation"')
    parser.add_argument("--reconstruct", type=int, metavar="STEPS", help="layer-wise fine-tuning of 4-bit weights")
    parser.add_argument("--text", choices=SCHEMES.names(), help="scheme of the text encoder (w8a16, fp8, w4a16)")
    parser.add_argument("--codec", choices=SCHEMES.names(), help="scheme of the codec (w8a16, fp8)")
    parser.add_argument("--prompt", action="append", help="to calibrate on; may be repeated")
    parser.add_argument("--steps", type=int, help="of the sampling that is calibrated on")
    parser.add_argument("--states", type=int, default=6, help="of these steps that are looked at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle of that name")


def run(options: argparse.Namespace) -> None:
    check_target(options.target, options.overwrite)
    kind = SCHEMES.get(options.scheme)
    given = {f.name: getattr(options, f.name) for f in fields(kind) if getattr(options, f.name) is not None}
    if "keep" in given:
        given["keep"] = tuple(given["keep"])
    scheme = kind(**given)
    pipe = load(options.source, device=options.device)
    calibration = None
    if scheme.needs_calibration:
        conditions = calibration_conditions(pipe.model, pipe.text, options.prompt or PROMPTS)
        how = CalibrationRun(steps=options.steps, states=options.states, seed=options.seed)
        with tqdm(desc="calibration", unit="step") as bar:

            def progress(done: int, total: int) -> None:
                bar.total, bar.n = total, done
                bar.refresh()

            done = quantize(pipe.model, scheme, *conditions, how, progress)
        log.info(done.report.table())
        pipe, calibration = replace(pipe, model=done.model), done.calibration
    else:
        pipe = replace(pipe, model=apply(pipe.model, scheme))
    pipe = replace(pipe, text=quantize_text(pipe.text, options.text), codec=quantize_codec(pipe.codec, options.codec))
    folder = save_bundle(pipe, options.target, options.overwrite)
    if calibration is not None:
        calibration.save(calibration_file(folder / "transformer", scheme))
    size = sum(file.stat().st_size for file in (folder / "transformer").glob("*.safetensors"))
    log.info("%s: the transformer takes %.1f MB", folder, size / 1e6)

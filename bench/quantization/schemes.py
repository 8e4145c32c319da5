"""The schemes that are compared, and the model quantized by one of them."""

import mgt_core
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.quantization.quantize import Quantized, quantize
from mgt_core.quantization.schemes import FP8, W4A8, W4A16, W8A8, W8A8FP8, W8A16, Scheme

CASES: dict[str, Scheme] = {
    "W4A8 (SCQ)": W4A8(),
    "W4A8, fine-tuned": W4A8(reconstruct=40),
    "W4A8, dynamic scales": W4A8(activation_scales="dynamic"),
    "W4A8, int8 inputs everywhere": W4A8(int8_share=1.0),
    "W4A8, scales together": W4A8(condition_scales="together"),
    "W4A8, int8 outputs": W4A8(outputs="int8"),
    "W4A8, groups of 64": W4A8(group_size=64),
    "W4A8, modulation 16 bit": W4A8(keep=("modulation",)),
    "W4A16": W4A16(),
    "W8A8": W8A8(),
    "W8A16": W8A16(),
    "FP8": FP8(),
    "FP8, inputs too": W8A8FP8(),
}


def calibrated(pipe: mgt_core.Pipeline, scheme: Scheme, captions: list[str], seed: int, states: int) -> Quantized:
    run = CalibrationRun(states=states, seed=seed)
    return quantize(pipe.model, scheme, pipe.text.encode(captions), pipe.text.encode([""] * len(captions)), run)

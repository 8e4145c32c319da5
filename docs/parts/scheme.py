"""A quantization scheme: at the end of mgt_core/quantization/schemes.py."""

from dataclasses import dataclass

from mgt_core.quantization.schemes import SCHEMES, Scheme


@SCHEMES.register("w4a16_fine")
@dataclass(frozen=True)
class W4A16Fine(Scheme):
    """4-bit weights in groups of 64."""

    format = "asym_w4a8_int8"
    group_size: int = 64
    int8_share: float = 0.0

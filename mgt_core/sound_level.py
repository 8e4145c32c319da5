"""How loud a sound is handed on.

A codec's sound is raw: it may go beyond full scale, ±1, where files of whole numbers are cut off. (MAGNeT's authors
write theirs through a compressor, which changes what is heard; here a sound is multiplied as a whole or not at all.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import lookup

# By what each sound is multiplied, [B, 1, 1] of the largest values [B, 1, 1], above 0.
LEVELS: dict[str, Callable[[Tensor], Tensor]] = {
    "no clipping": lambda peak: 1 / peak.clamp_min(1),
    "full scale": lambda peak: 1 / peak,
    "as it is": torch.ones_like,
}


def levelled(wave: Tensor, level: str) -> tuple[Tensor, str]:
    """[B, C, S] float32 at one of LEVELS, and a sentence where a sound was changed or may be cut off, else "".

    Silence stays what it is."""
    wave = wave.to(torch.float32)
    peak = wave.abs().amax((1, 2), keepdim=True)
    factor = torch.where(peak > 0, lookup("level", level, LEVELS)(peak.clamp_min(torch.finfo(torch.float32).tiny)), 1)
    # Rounding must not leave a value beyond full scale.
    made = torch.where(factor == 1, wave, (wave * factor).clamp(-1, 1))
    return made.contiguous(), note_of(peak.flatten(), factor.flatten())


def note_of(peak: Tensor, factor: Tensor) -> str:
    """Of the sounds that go beyond full scale."""
    loud = (peak > 1).nonzero().flatten().tolist()
    if not loud:
        return ""
    told = f"{float(peak.max()):.3g} times full scale"
    if bool((factor[loud] == 1).all()):
        return f"The loudest moment is {told}: a file of sound will be cut off there."
    return f"Turned down, since the loudest moment was {told}."

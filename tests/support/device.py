"""Where tests compute, and how far the numbers of a GPU may lie from a CPU's.

`MGT_DEVICE=cuda ./mgt test` runs the suite on a GPU. Without it everything is on the CPU, and what is called exact is
exact to the bit.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from mgt_core.codecs import base
from mgt_core.errors import MGTError
from mgt_core.placement import pick_device

try:
    DEVICE = pick_device(os.environ.get("MGT_DEVICE") or "cpu")
except MGTError as error:
    raise SystemExit(f"MGT_DEVICE: {error}") from None  # pytest would show any other error with its whole way here

ON_CPU = DEVICE.type == "cpu"
if ON_CPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or what names no device would choose a GPU that is there
HERE = {"dtype": torch.float32, "device": DEVICE}  # how tests load a model, whose own type on a GPU is bfloat16
REFERENCE = {"dtype": torch.float32, "device": torch.device("cpu")}  # what a model on a GPU is compared with


@dataclass(frozen=True)
class Tolerance:
    """values: how far two numbers may lie apart, as a share of the largest of all. cells: share of the tokens of a run
    that may differ."""

    values: float
    cells: float


EXACT = Tolerance(0.0, 0.0)
# Between two roads to the same numbers: a recording and a run, a batch and its pictures one by one, a patch that
# changes nothing and none.
#
# values: a GPU chooses its kernels by shape, and another kernel sums in another order. That moves the last digits, by
# some 1e-6 of the largest logit after a few layers. TF32, which multiplies with 10 bits, is off (`as_exact_as_can_be`):
# these tests are about the arithmetic, not about what is given up for speed.
# cells: a token is drawn where a uniform number falls among the summed probabilities, and cells are kept by their rank.
# Where two of these lie nearer to each other than the errors above (a near-tie) they change places, what follows sees
# another token, and the run goes its own way. Of 1,056 runs of 64 cells in 8 steps on a CPU (five models, MaskGIT and
# masked zigzag), noise of 1e-6 of the largest logit changed one, in 6% of its cells, and noise of 2e-5 27: most in less
# than a tenth, six zigzags in more than a quarter. A test that fails by this is a near-tie of this card: look at it.
TOLERANCES = {
    torch.float32: Tolerance(values=2e-5, cells=0.25),
    torch.float16: Tolerance(values=4e-3, cells=0.5),
    torch.bfloat16: Tolerance(values=3e-2, cells=0.5),
}


def tolerance(dtype: torch.dtype = torch.float32) -> Tolerance:
    """Of what a network computes in `dtype`."""
    return EXACT if ON_CPU else TOLERANCES[dtype]


def equal(ours: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors hold the same to the bit, wherever they lie."""
    return torch.equal(ours.to(wanted.device), wanted)


def agree(ours: Tensor, wanted: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether two roads came to the same: to the bit on a CPU, elsewhere within `tolerance(dtype)`."""
    if ON_CPU:
        return torch.equal(ours, wanted)
    if ours.shape != wanted.shape or ours.dtype != wanted.dtype:
        return False
    ours, allowed = ours.to(wanted.device), tolerance(dtype)
    if not wanted.is_floating_point():
        return int((ours != wanted).sum()) <= allowed.cells * wanted.numel()
    return bool(((ours - wanted).abs() <= allowed.values * wanted.abs().max()).all()) if wanted.numel() else True


def as_exact_as_can_be() -> None:
    """float32 on a GPU means float32: no TF32 in products nor, as is torch's default and what codecs decode with, in
    convolutions."""
    if not ON_CPU:
        chosen = base.convolutions
        base.convolutions = lambda tf32=False: chosen(tf32=False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False

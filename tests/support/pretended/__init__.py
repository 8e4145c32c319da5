"""A GPU that is not there, with real values: what runs on it is computed on the CPU, and watched.

    with PretendedCUDA() as watch:
        network.to("cuda")
        out = mgt_core.sample(model, ..., callback=lambda step: watch.mark())
    assert not watch.steady.waits, watch.steady.waits

Tensors say that they are on cuda:0 (on mps:0 in `PretendedMPS`, which refuses what Apple's GPUs do), and `.item()` and
`.cpu()` give what was computed, so a run can be compared with the same on the CPU. tensor: what stands for a tensor
there. device: every operation. calls: what torch does in Python or C++ before an operation is dispatched. host:
generators, events, streams. graphs: CUDA graphs. apple: what there is not on mps.
notes: what was seen, and where.
"""

from .apple import PretendedMPS
from .device import DeviceMix, PretendedCUDA
from .notes import Note, Seen
from .tensor import DeviceTensor

__all__ = ["DeviceMix", "DeviceTensor", "Note", "PretendedCUDA", "PretendedMPS", "Seen"]

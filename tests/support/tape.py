"""CUDA graphs on a CPU: every operation is noted once, and played again on the same tensors, without the Python.

What a recording of CUDA would not notice is not noticed here either: a Python number that was true when it was made
stays as it was. What it cannot record (the host asks for a value) is refused.
"""

from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mgt_core.kernels.cuda_graph import RECORDERS

ASKS = {"item", "_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"}


class Tape(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.steps: list[tuple[Callable, tuple, dict, list[Tensor]]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if name in ASKS or masks:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        out = function(*args, **(kwargs or {}))
        self.steps.append((function, args, kwargs or {}, tensors(out)))
        return out

    def play(self) -> None:
        for function, args, kwargs, before in self.steps:
            for old, new in zip(before, tensors(function(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr() or not same_memory(old, new):
                    old.copy_(new)


def tensors(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


class TapeRecorder:
    """In the place of CUDARecorder. made: recordings in all; played: how often any of them was launched."""

    made = played = 0

    def __init__(self, device: torch.device):
        self.device = device

    def record(self, compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        compute()  # as CUDARecorder warms up
        tape = Tape()
        with tape:
            output = compute()
        TapeRecorder.made += 1

        def launch() -> None:
            TapeRecorder.played += 1
            tape.play()

        return launch, output


@contextmanager
def taped(monkeypatch):
    """CUDA graphs act on the CPU too."""
    TapeRecorder.made = TapeRecorder.played = 0
    monkeypatch.setitem(RECORDERS, "cpu", TapeRecorder)
    yield TapeRecorder

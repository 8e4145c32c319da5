"""CUDA graphs on a CPU: every operation is noted once, and played again on the same tensors, without the Python.

What a recording of CUDA would not notice is not noticed here either: a Python number that was true when it was made
stays as it was. What it cannot record (the host asks for a value) is refused.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mgt_core.kernels.cuda_graph import RECORDERS, CUDARecorder, Recorder

from .device import DEVICE, ON_CPU

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
                if old.data_ptr() != new.data_ptr():  # no view, nor written in place
                    old.copy_(new)


def tensors(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class TapeRecorder:
    """In the place of CUDARecorder."""

    def __init__(self, device: torch.device):
        self.device = device

    def record(self, compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        compute()  # as CUDARecorder warms up
        tape = Tape()
        with tape:
            output = compute()
        return tape.play, output


class Counting:
    """made: recordings in all. played: how often any of them was launched."""

    def __init__(self, kind: type[Recorder]):
        self.kind, self.made, self.played = kind, 0, 0

    def __call__(self, device: torch.device) -> "Counting":
        self.own = self.kind(device)
        return self

    def record(self, compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        launch, output = self.own.record(compute)
        self.made += 1

        def counted() -> None:
            self.played += 1
            launch()

        return counted, output


def counted(monkeypatch) -> Counting:
    """CUDA graphs act where the suite computes, on a CPU by tapes."""
    counting = Counting(TapeRecorder if ON_CPU else CUDARecorder)
    monkeypatch.setitem(RECORDERS, DEVICE.type, counting)
    return counting

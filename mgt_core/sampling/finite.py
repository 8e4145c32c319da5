"""Finding where numbers go wrong."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..kernels.as_it_is import as_it_is

BESIDE = "the guidance or a modifier (every layer of the network is finite)"


def non_finite_origin(network: nn.Module, evaluate: Callable[[], object], beside: str = BESIDE) -> str:
    """Name of the first layer whose weights or output are not finite while `evaluate` runs.

    `beside` when every layer is finite: what is made of their outputs overflowed.
    """
    for name, weight in network.named_parameters():
        if not bool(weight.float().isfinite().all()):  # some packed types cannot say so themselves
            return f"the weights of {name}"
    first: list[str] = []

    def watch(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            parts = output if isinstance(output, tuple) else (output,)
            broken = any(isinstance(part, Tensor) and not bool(part.isfinite().all()) for part in parts)
            if broken and not first:
                first.append(f"the output of {name}")

        return hook

    # Hooks of inner modules run before those of the modules that hold them.
    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        with as_it_is():  # what has been compiled or recorded calls no hooks
            evaluate()
    finally:
        for handle in handles:
            handle.remove()
    return first[0] if first else beside


def all_finite(*values: Tensor) -> bool:
    """As `isfinite().all()` of each, by the extremes, which are there in a fraction of the time on a CPU; one wait."""
    ends = [end for each in values if each.numel() for end in each.aminmax()]
    return not ends or bool(torch.stack(ends).isfinite().all())


class FiniteWatch:
    """Reports where a flag turns out false. On CUDA flags are read when they have arrived: to ask for one at
    once would make the CPU wait until the GPU has done all its work, and the GPU then wait for new work."""

    def __init__(self, device: torch.device):
        self.late = device.type == "cuda"
        self.pending: deque[tuple[Tensor, torch.cuda.Event, Callable[[], None]]] = deque()

    def add(self, flag: Tensor, report: Callable[[], None]) -> None:
        """flag: [] bool on the device. report: raises, naming what went wrong where the flag was made."""
        if not self.late:
            if not bool(flag):
                report()
            return
        self.pending.append((*arriving(flag), report))
        while self.pending and self.pending[0][1].query():
            self._read()

    def settle(self) -> None:
        """Wait for the flags that are still on their way."""
        while self.pending:
            self.pending[0][1].synchronize()
            self._read()

    def _read(self) -> None:
        flag, _, report = self.pending.popleft()
        if not bool(flag):
            report()


def arriving(flag: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """A copy of a CUDA tensor for the CPU to read, once the event has come to pass."""
    copy = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True)
    copy.copy_(flag, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(flag.device))
    return copy, event

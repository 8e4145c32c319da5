"""CUDA graphs: a sequence of kernels recorded once and launched as one (torch.cuda.CUDAGraph)."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Launch = Callable[[], None]


class Recorder(Protocol):
    def record(self, compute: Callable[[], Tensor]) -> tuple[Launch, Tensor]:
        """What does the device operations of `compute` again, without its Python, on the same tensors; and the tensor
        that their result is then in. `compute` is called at least once and may be called twice."""
        ...


class CUDARecorder:
    """Records for one device, on a stream of its own: libraries keep memory for every stream that they have seen.

    What the kernels hold in between lies in one pool, which all of its recordings share: none of them is launched while
    another runs, and what they give is copied away at once."""

    def __init__(self, device: torch.device):
        self.device = device
        with torch.cuda.device(device):
            self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def record(self, compute: Callable[[], Tensor]) -> tuple[Launch, Tensor]:
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        # Also puts back the stream after a recording that failed.
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            self.stream.wait_stream(current)
            compute()  # libraries take memory and load kernels when first used, which a recording may not hold
            # Other threads, such as a server's, may go on using the device.
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                output = compute()
        current.wait_stream(self.stream)
        return graph.replay, output


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CUDARecorder}  # by type of device

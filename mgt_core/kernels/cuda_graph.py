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
    """Records for one device. What the kernels hold in between lies in one pool, which all of its recordings share:
    none of them is launched while another runs, and what they give is copied away at once."""

    def __init__(self, device: torch.device):
        self.device, self.pool = device, torch.cuda.graph_pool_handle()

    def record(self, compute: Callable[[], Tensor]) -> tuple[Launch, Tensor]:
        beside = torch.cuda.Stream(self.device)
        beside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(beside):
            compute()  # libraries take memory and load kernels when first used, which a recording may not hold
        torch.cuda.current_stream(self.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as a server's, may go on using the device.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            output = compute()
        return graph.replay, output


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CUDARecorder}  # by type of device

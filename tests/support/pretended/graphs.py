"""torch.cuda's graphs: what is captured is not done, but done again at every replay, with the memory of the capture."""

from collections.abc import Callable, Container
from contextlib import contextmanager

from torch import Tensor

from .tensor import tensors_in


class CUDAGraph:
    """The work between the begin and the end of a capture. `watch` is set where this class stands in for torch's."""

    watch = None

    def __init__(self, keep_graph: bool = False):
        self.work: list[Callable[[], None]] | None = None
        self.before: list[tuple[Tensor, Tensor]] = []  # what was written to, and what was there
        self.made: list[Tensor] = []

    def capture_begin(self, pool=None, capture_error_mode: str = "global") -> None:
        if self.watch.capture is not None:
            raise RuntimeError("a graph is being captured already")
        self.work, self.watch.capture = [], self

    def capture_end(self) -> None:
        """Nothing has been computed: what was there is there again, and what is new holds no numbers yet."""
        self.watch.capture = None
        for made in self.made:
            made.fill_(float("nan") if made.is_floating_point() else 0)
        for target, values in reversed(self.before):
            target.copy_(values)
        self.made, self.before = [], []

    def instantiate(self) -> None:
        pass

    def replay(self) -> None:
        """One launch, whatever is in it."""
        if self.work is None:
            raise RuntimeError("replay of a graph that holds nothing")
        self.watch.note("kernels", "graph launch")
        for again in self.work:
            again()

    def reset(self) -> None:
        self.work = None

    def pool(self) -> tuple[int, int]:
        return (0, 1)

    # Told by the watch during a capture

    def writes(self, target: Tensor) -> None:
        self.before.append((target, target.clone()))

    def add(self, compute: Callable[[], object], results: list[Tensor], known: Container[int]) -> None:
        """Work that gave `results`, of which those whose ids are `known` were there before."""
        self.made += [result for result in results if id(result) not in known]

        def again() -> None:
            for result, values in zip(results, tensors_in((compute(),)), strict=True):
                if values is not result:
                    result.copy_(values)

        self.work.append(again)


@contextmanager
def graph(cuda_graph: CUDAGraph, pool=None, stream=None, capture_error_mode: str = "global", **_):
    """Stands in for torch.cuda.graph, which waits for the device before a capture."""
    cuda_graph.watch.note("captures", "graph")
    cuda_graph.watch.arrivals.arrive()
    cuda_graph.capture_begin(pool, capture_error_mode)
    try:
        yield
    finally:
        cuda_graph.capture_end()

"""What torch.cuda and torch offer beside tensors: generators, events, streams."""

from contextlib import ExitStack, contextmanager, nullcontext
from unittest import mock

import torch
import torch.__future__ as future

from mgt_core.kernels import kitchen

from .graphs import CUDAGraph, graph
from .tensor import here


class Generator(torch.Generator):
    """One of the device draws as one of the CPU does, with the same seed."""

    on_device = False

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu")
        made.on_device = torch.device(device).type == here().type
        return made

    @property
    def device(self) -> torch.device:
        return here() if self.on_device else super().device


def on_device(generator: torch.Generator) -> bool:
    return getattr(generator, "on_device", False)


class Arrivals:
    """Copies into pinned memory that are on their way: until an event after them has come to pass, the memory holds
    something else."""

    def __init__(self):
        self.copies: list[tuple[torch.Tensor, torch.Tensor]] = []  # of values, into memory
        self.recorded = 0  # events
        self.done = 0  # copies that have arrived

    def add(self, target: torch.Tensor, source: torch.Tensor) -> None:
        values = source.clone()
        if target.numel():
            target.copy_(values.logical_not())
        self.copies.append((target, values))

    def before(self, source: torch.Tensor) -> None:
        """The device reads memory in the order of its own work: what was on its way there has arrived by then."""
        own = source.untyped_storage().data_ptr()
        if any(target.untyped_storage().data_ptr() == own for target, _ in self.copies[self.done :]):
            self.arrive()

    def arrive(self, until: int | None = None) -> None:
        """The first `until` copies of the run, or all."""
        until = len(self.copies) if until is None else until
        for target, values in self.copies[self.done : until]:
            target.copy_(values)
        self.done = max(self.done, until)


def stand_ins(watch) -> ExitStack:
    """Everything that is put in the place of torch's own, until the stack is closed."""
    arrivals = watch.arrivals

    def waited(what: str, until: int | None = None) -> None:
        watch.note("waits", what)
        arrivals.arrive(until)

    class Event:
        """Has come to pass once a later one was recorded: the device is a little behind."""

        def __init__(self, *args, **kwargs):
            self.number = self.copies = 0

        def record(self, stream=None) -> None:
            arrivals.recorded += 1
            self.number, self.copies = arrivals.recorded, len(arrivals.copies)

        def query(self) -> bool:
            come = self.number < arrivals.recorded
            if come:
                arrivals.arrive(self.copies)
            return come

        def synchronize(self) -> None:
            waited("Event.synchronize", self.copies)

        def wait(self, stream=None) -> None:
            pass

    class Stream:
        """There is one queue; work of all streams goes there in the order in which it is given."""

        def __init__(self, *args, **kwargs):
            self.device = here()

        def synchronize(self) -> None:
            waited("Stream.synchronize")

        def wait_stream(self, other) -> None:
            pass

        def wait_event(self, event) -> None:
            pass

        def record_event(self, event=None) -> Event:
            event = event or Event()
            event.record()
            return event

    @contextmanager
    def stream(_):
        yield

    one = Stream()
    stack = ExitStack()
    for target, name, value in (
        (torch, "Generator", Generator),
        (torch.cuda, "Event", Event),
        (torch.cuda, "CUDAGraph", type("CUDAGraph", (CUDAGraph,), {"watch": watch})),
        (torch.cuda, "graph", graph),
        (torch.cuda, "graph_pool_handle", lambda: (0, 1)),
        (torch.cuda, "is_current_stream_capturing", lambda: watch.capture is not None),
        (torch.cuda, "device", lambda device: nullcontext()),
        (torch.cuda, "Stream", Stream),
        (torch.cuda, "stream", stream),
        (torch.cuda, "current_stream", lambda device=None: one),
        (torch.Tensor, "record_stream", lambda values, stream: None),
        (torch.cuda, "synchronize", lambda device=None: waited("torch.cuda.synchronize")),
        (torch.cuda, "_lazy_init", lambda: None),
        (kitchen, "loaded", lambda: None),  # its kernels need the real thing
    ):
        stack.enter_context(mock.patch.object(target, name, value))
    # A module that is moved gets new parameters, not other values in those it has.
    stack.callback(future.set_overwrite_module_params_on_conversion, future.get_overwrite_module_params_on_conversion())
    future.set_overwrite_module_params_on_conversion(True)
    return stack

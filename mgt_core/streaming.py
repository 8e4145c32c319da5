"""Networks larger than the memory of a device: their linear layers rest on the CPU, and each is sent for its call.

For scripts; in ComfyUI its own memory management does this (nodes/streaming.py).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor, nn

from .adapters.layers import is_linear
from .backbones.base import Backbone
from .backbones.names import begins
from .room import Room, room_on

Weights = dict[str, Tensor | None]


def streamable(network: Backbone) -> Iterator[nn.Module]:
    """The layers that are called with one input, whose device is where they compute."""
    for name, layer in network.named_modules():
        if is_linear(layer) and not any(layer.children()) and not begins(name, network.uncalled):
            yield layer


@cache  # made when needed: it imports torch's compiler
def eagerly(function: Callable[..., None]) -> Callable[..., None]:
    """Kept out of graphs; a compiled network that need not fetch stays one graph."""
    return torch.compiler.disable(function)


def swap_in(layer: nn.Module, here: Mapping[str, Tensor | None]) -> None:
    """Other weights for a call. `swap_out` puts its own back."""
    layer.left_behind = dict(layer._parameters)
    layer._parameters.update(here)


def swap_out(layer: nn.Module) -> None:
    layer._parameters.update(layer.__dict__.pop("left_behind", {}))


def sent_weights(own: Mapping[str, Tensor | None], device: torch.device) -> Weights:
    return {name: value if value is None else value.to(device, non_blocking=True) for name, value in own.items()}


@dataclass
class Sending:
    """Weights on their way. own: what they are copies of. ready: an event after the copies, None where they waited."""

    own: Weights
    here: Weights
    ready: "torch.cuda.Event | None" = None

    def is_of(self, layer: nn.Module) -> bool:
        return all(self.own.get(name) is value for name, value in layer._parameters.items())


@dataclass
class Traffic:
    """Which layer came after which, so that the next one is sent while a layer computes; at most two are on the device.

    copies: the stream that they are sent by, on CUDA."""

    device: torch.device
    after: dict[int, nn.Module] = field(default_factory=dict)
    ahead: dict[int, Sending] = field(default_factory=dict)
    last: int | None = None
    copies: "torch.cuda.Stream | None" = None

    def __post_init__(self):
        if self.device.type == "cuda":
            self.copies = torch.cuda.Stream(self.device)

    def __deepcopy__(self, memo: dict) -> "Traffic":
        return self  # networks with LoRAs share the layers

    def fetch(self, layer: nn.Module) -> None:
        coming = self.ahead.pop(id(layer), None)
        self.ahead.clear()  # of another order than before
        if coming is None or not coming.is_of(layer):
            coming = self.send(layer)
        if coming.ready is not None:
            own = torch.cuda.current_stream(self.device)
            own.wait_event(coming.ready)
            for value in filter(torch.is_tensor, coming.here.values()):
                value.record_stream(own)  # its memory is given back only when this layer has computed
        swap_in(layer, coming.here)
        if self.last is not None:
            self.after[self.last] = layer
        self.last = id(layer)
        following = self.after.get(id(layer))
        if following is not None and following is not layer:
            self.ahead[id(following)] = self.send(following)

    def send(self, layer: nn.Module) -> Sending:
        own = dict(layer._parameters)
        if self.copies is None:
            return Sending(own, sent_weights(own, self.device))
        with torch.cuda.stream(self.copies):
            here = sent_weights(own, self.device)
            return Sending(own, here, self.copies.record_event())


def fetch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    eagerly(Traffic.fetch)(layer.traffic, layer)


def put_back(layer: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
    """Also called when the layer failed."""
    eagerly(swap_out)(layer)


@dataclass(frozen=True)
class Streamed:
    """A placement: the linear layers of `module` stay in the CPU's memory and are sent to `device` for their calls, the
    next one while one computes; everything else lies on `device` from the first use on. Results are the same.

    keep: bytes of layers, the first ones, that lie on the device as well: as much as it has room for beside what a run
    takes, since every byte that does not is sent at every evaluation. Packed layers are sent packed. A network is
    streamed by one placement at a time.

        pipe = mgt_core.load(folder, torch.bfloat16, "cpu", quantization="w4a8")
        model = pipe.model.with_placement(mgt_core.Streamed(pipe.model.network, torch.device("cuda")))
    """

    module: Backbone
    device: torch.device
    keep: int = 0

    def __post_init__(self):
        traffic, left = Traffic(self.device), self.keep
        for layer in streamable(self.module):
            left -= sum(value.nbytes for value in layer.parameters())
            if left < 0 and "traffic" not in vars(layer):
                layer.register_forward_pre_hook(fetch)
                layer.register_forward_hook(put_back, always_call=True)
            if left < 0:
                layer.traffic = traffic
                if self.device.type == "cuda":  # from other memory nothing is sent while something computes
                    layer._apply(Tensor.pin_memory, recurse=False)

    def acquire(self, memory: int = 0) -> torch.device:
        for part in self.module.modules():
            if "traffic" not in vars(part):
                part._apply(lambda value: value.to(self.device), recurse=False)
        return self.device

    def room(self) -> Room:
        return room_on(self.device)

    def joined(self, network: nn.Module, added: nn.Module) -> "Streamed":
        joined = replace(self)
        object.__setattr__(joined, "module", network)
        return joined

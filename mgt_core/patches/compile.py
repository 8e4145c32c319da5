"""torch.compile as a patch of a model."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import NO_HOOKS, Hooks
from ..errors import MGTError, reason
from ..pulse import uninterrupted
from ..registry import PATCHES
from ..settings import choice
from .base import Call, Features, Patch, RunPatch

log = logging.getLogger(__name__)

MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
BACKENDS = ("inductor", "aot_eager", "eager")
MOST = 2  # networks of a patch whose code is held: LoRAs attached after it make new ones


class CompiledFeatures:
    """`Backbone.features` of one network, compiled; the weights are the network's own.

    Sizes, batches and devices may change: torch checks what it has compiled for and compiles anew, and
    CUDA graphs are recorded anew. Calls with hooks that decide something inside the blocks run as they are, and so does
    the first of a run in which a token cache acts, which makes its memory.
    """

    def __init__(self, network: Backbone, settings: "Compile"):
        self.settings, self.plain, self.possible = settings, network.features, True

    @cached_property
    def compiled(self) -> Features:
        mode = self.settings.mode if self.settings.backend == "inductor" else None
        return torch.compile(on_tensors(self.plain), backend=self.settings.backend, mode=mode)

    def __call__(self, tokens: Tensor, timestep: Tensor, prepared: Any, hooks: Hooks = NO_HOOKS) -> Tensor:
        keepers = hooks.keepers
        if not (self.possible and hooks.fixed and all(keeper.state() for keeper in keepers.values())):
            return self.plain(tokens, timestep, prepared, hooks)
        try:
            torch.compiler.cudagraph_mark_step_begin()
            parts = {name: (type(k), k.kind, k.reads(), k.state()) for name, k in keepers.items()}
            # A CUDA graph writes its next result where this one lies.
            with uninterrupted():
                return self.compiled(tokens, timestep, prepared, parts).clone()
        except (MGTError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            result = self.plain(tokens, timestep, prepared, hooks)  # raises by itself when compiling is not to blame
            self.possible = False
            log.warning("the network cannot be compiled here (%s); it runs as it is", reason(error))
            return result


def on_tensors(features: Features) -> Callable[..., Tensor]:
    """`features` with hooks that are made from their tensors inside, so that a compiler sees tensors alone."""

    def run(tokens: Tensor, timestep: Tensor, prepared: Any, parts: dict[str, tuple]) -> Tensor:
        if not parts:
            return features(tokens, timestep, prepared)
        hooks = Hooks(**{name: made.on(kind, reads, state) for name, (made, kind, reads, state) in parts.items()})
        return features(tokens, timestep, prepared, hooks)

    return run


@PATCHES.register("compile")
@dataclass(frozen=True)
class Compile(Patch):
    """mode: of inductor: default; reduce-overhead, CUDA graphs beside it; the max-autotune ones, which try
    out more kernels and take longer to compile. backend: inductor generates code; the others generate none
    and serve to find faults."""

    slot = "compile"
    title = "compilation"
    place = "network"
    neutral = {"backend": "eager"}

    mode: str = choice("default", MODES, "compile mode")
    backend: str = choice("inductor", BACKENDS, "compile backend")
    _made: dict[Backbone, CompiledFeatures] = field(init=False, repr=False, compare=False, default_factory=dict)

    def features(self, network: Backbone) -> CompiledFeatures:
        """Those of `network`, the same from run to run and for all views of it."""
        network = network.shared
        if network not in self._made:
            while len(self._made) >= MOST:  # compiled code holds its network
                del self._made[next(iter(self._made))]
            self._made[network] = CompiledFeatures(network, self)
        return self._made[network]

    def begin(self, network: Backbone) -> RunPatch:
        return Compiled(self.features(network))


class Compiled(RunPatch):
    """During one run."""

    def __init__(self, features: CompiledFeatures):
        self.features = features

    def around(self, features: Features, call: Call) -> Features:
        return self.features

"""torch.compile as an option of a model."""

import logging
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import NO_PATCHES, Patches
from ..errors import MGTError, reason

log = logging.getLogger(__name__)

MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
BACKENDS = ("inductor", "aot_eager", "eager")


class CompiledFeatures:
    """`Backbone.features` of one network, compiled; the weights are the network's own.

    Sizes, batches and devices may change: torch checks what it has compiled for and compiles anew, and
    CUDA graphs are recorded anew. Evaluations with patches inside the blocks run as they are.
    """

    def __init__(self, network: Backbone, settings: "Compile"):
        mode = settings.mode if settings.backend == "inductor" else None
        self.plain = network.features
        self.compiled = torch.compile(network.features, backend=settings.backend, mode=mode)
        self.possible = True

    def __call__(self, tokens: Tensor, timestep: Tensor, prepared: Any, patches: Patches = NO_PATCHES) -> Tensor:
        if patches is not NO_PATCHES and patches != NO_PATCHES or not self.possible:
            return self.plain(tokens, timestep, prepared, patches)
        try:
            torch.compiler.cudagraph_mark_step_begin()
            # A CUDA graph writes its next result where this one lies.
            return self.compiled(tokens, timestep, prepared).clone()
        except (MGTError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            result = self.plain(tokens, timestep, prepared)  # raises by itself when compilation is not to blame
            self.possible = False
            log.warning("the network cannot be compiled here (%s); it runs as it is", reason(error))
            return result


@dataclass(frozen=True)
class Compile:
    """mode: of inductor: default; reduce-overhead, CUDA graphs beside it; the max-autotune ones, which try
    out more kernels and take longer to compile. backend: inductor generates code; the others generate none
    and serve to find faults."""

    mode: str = "default"
    backend: str = "inductor"
    _made: WeakKeyDictionary = field(init=False, repr=False, compare=False, default_factory=WeakKeyDictionary)

    def __post_init__(self):
        for name, choices in (("mode", MODES), ("backend", BACKENDS)):
            if getattr(self, name) not in choices:
                raise MGTError(f"compile {name} is {getattr(self, name)!r}; accepted are {', '.join(choices)}")

    def features(self, network: Backbone) -> CompiledFeatures:
        if network not in self._made:
            self._made[network] = CompiledFeatures(network, self)
        return self._made[network]

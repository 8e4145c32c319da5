"""CUDA graphs as a patch: an evaluation is recorded once and then launched as one piece.

A step on a fast GPU is bound by its launches: about a thousand kernels, each of them asked for by Python, take longer
to start than to run. A recording is replayed without Python, on tensors that stay where they are.
"""

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import WIDEST_ALIVE, Backbone
from ..backbones.flat import FlatCall, flat_call, form, leaves
from ..backbones.hooks import NO_HOOKS, Hooks, Keeper
from ..errors import MGTError, reason
from ..kernels.as_it_is import wants_as_it_is
from ..kernels.cuda_graph import RECORDERS, Recorder
from ..pulse import uninterrupted
from ..registry import PATCHES
from .base import Call, Features, Patch, RunPatch

log = logging.getLogger(__name__)

MOST = 12  # recordings of a network that are held: a few sizes, with and without guidance, whole and cached


class Recording:
    """One kind of call. Its inputs are copied to where the recording reads them, and its result from where it is
    written."""

    def __init__(self, call: FlatCall, recorder: Recorder):
        self.inputs, self.constants = ([value.clone() for value in held] for held in (call.inputs, call.constants))
        self.sources, self.state = list(call.constants), call.state  # held, so that no other tensor gets their address
        with uninterrupted():
            self.launch, self.output = recorder.record(lambda: call.run(self.inputs, self.constants, self.state))

    def replay(self, call: FlatCall) -> Tensor:
        for own, value in zip(self.inputs, call.inputs, strict=True):
            own.copy_(value)
        for place, value in enumerate(call.constants):
            if self.sources[place] is not value:
                self.constants[place].copy_(value)
                self.sources[place] = value
        self.launch()
        return self.output.clone()


def addresses(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    return tuple(value.data_ptr() for value in tensors)


@dataclass
class Lent:
    """State that recordings know. owner: of the hook that uses it, or did."""

    state: list[Tensor]
    owner: weakref.ref


class Recordings:
    """Those of one network, from run to run, until its weights move."""

    def __init__(self, network: Backbone):
        self.held: OrderedDict[Hashable, Recording] = OrderedDict()
        self.lent: dict[Hashable, list[Lent]] = {}
        self.holders = [own for module in network.modules() for own in (module._parameters, module._buffers)]
        self.addresses: tuple[int, ...] = ()
        self.recorder: Recorder | None = None
        self.possible, self.told = True, False
        self.lock = threading.Lock()  # of what recordings read and write
        network.watchers.add(self)

    def features(self, plain: Features, tokens: Tensor, timestep: Tensor, prepared: Any, hooks: Hooks) -> Tensor:
        """What `plain` gives, which is called where nothing can be recorded."""
        call = tokens, timestep, prepared, hooks
        if wants_as_it_is() or not self.ready(tokens.device):
            return plain(*call)
        new = self.without_state(tokens, prepared, hooks)
        # What makes its memory itself makes it in a call that is not recorded.
        possible = hooks.fixed and all(keeper.state() for keeper in new.values())
        out = self.launched(plain, call) if possible else plain(*call)
        if new:
            with self.lock:
                for place, keeper in new.items():
                    self.lent.setdefault(place, []).append(Lent(keeper.state(), weakref.ref(keeper.owner)))
        return out

    def without_state(self, tokens: Tensor, prepared: Any, hooks: Hooks) -> dict[Hashable, Keeper]:
        """Hooks that are fresh and that no run which is over can lend its state, by where it would lie."""
        fresh = {name: keeper for name, keeper in hooks.keepers.items() if keeper.fresh}
        if not fresh:
            return {}
        shapes = form(tokens), leaves(prepared)[2]
        with self.lock:
            places = {(name, type(keeper), *shapes): keeper for name, keeper in fresh.items()}
            return {place: keeper for place, keeper in places.items() if not self.lend(place, keeper)}

    def launched(self, plain: Features, call: tuple) -> Tensor:
        flat = flat_call(plain, *call)
        try:
            with self.lock:
                if self.recorder is not None:  # another thread may have dropped it
                    return self.recording(flat).replay(flat)
        except MGTError:
            raise
        except torch.OutOfMemoryError:
            self.drop()  # the same call may have room without what was recorded
        except Exception as error:
            self.drop()
            result = plain(*call)  # raises by itself when recording is not to blame
            self.possible = False
            log.warning("the network cannot be recorded as a CUDA graph here (%s); it runs as it is", reason(error))
            return result
        return plain(*call)

    def recording(self, call: FlatCall) -> Recording:
        """Of this kind of call on this state, made when it is first asked for."""
        key = call.kind, addresses(call.state)
        if key not in self.held:
            while len(self.held) >= MOST:
                self.held.popitem(last=False)
                self.forget()
            self.held[key] = Recording(call, self.recorder)
        self.held.move_to_end(key)
        return self.held[key]

    def forget(self) -> None:
        """State that nobody uses and that no recording knows any more."""
        known = {state for _, state in self.held}
        for place, lent in self.lent.items():
            self.lent[place] = [each for each in lent if each.owner() is not None or addresses(each.state) in known]

    def lend(self, place: Hashable, keeper: Keeper) -> bool:
        """Gives a hook the state of a run that is over, which recordings know already; False where there is none."""
        lent = next((lent for lent in self.lent.get(place, ()) if lent.owner() is None), None)
        if lent is None:
            return False
        keeper.borrow(lent.state)
        lent.owner = weakref.ref(keeper.owner)
        return True

    def ready(self, device: torch.device) -> bool:
        """Whether calls on this device can be recorded."""
        if device.type not in RECORDERS:
            if not self.told:
                log.warning("CUDA graphs have no effect on %s; the network runs as it is", device)
            self.told = True
            return False
        self.weights_moved()
        if self.recorder is None and self.possible and all(value.device == device for value in self.weights()):
            self.addresses = addresses(self.weights())
            self.recorder = RECORDERS[device.type](device)
        return self.recorder is not None

    def weights(self) -> Iterator[Tensor]:
        return (value for own in self.holders for value in own.values() if value is not None)

    def weights_moved(self) -> None:
        """Told when the weights may have moved: drops everything if they have."""
        if self.recorder is not None and self.addresses != addresses(self.weights()):
            self.drop()

    def drop(self) -> None:
        self.held.clear()
        self.lent.clear()
        self.recorder = None


@PATCHES.register("cuda_graphs")
@dataclass(frozen=True)
class CUDAGraphs(Patch):
    """It has no settings. Evaluations in which token merging, Self-Guidance, UNCAGE or noise on the embeddings act
    are not recorded, nor is a network whose weights do not all lie on the GPU."""

    slot = "cuda_graphs"
    title = "CUDA graphs"
    place = "launch"
    neutral = {}

    _made: MutableMapping[Backbone, Recordings] = field(
        init=False, repr=False, compare=False, default_factory=weakref.WeakKeyDictionary
    )

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        """What an evaluation needs, which stays reserved between them."""
        return conditions * rows * network.widest * size * WIDEST_ALIVE

    def recordings(self, network: Backbone) -> Recordings:
        """Those of `network`, the same from run to run and for all views of it."""
        network = network.shared
        if network not in self._made:
            self._made[network] = Recordings(network)
        return self._made[network]

    def begin(self, network: Backbone) -> RunPatch:
        return Launched(self.recordings(network))


class Launched(RunPatch):
    """During one run."""

    def __init__(self, recordings: Recordings):
        self.recordings = recordings

    def around(self, features: Features, call: Call) -> Features:
        def launched(tokens: Tensor, timestep: Tensor, prepared: Any, hooks: Hooks = NO_HOOKS) -> Tensor:
            return self.recordings.features(features, tokens, timestep, prepared, hooks)

        return launched

"""A call of a network as a function of tensors alone, so that it can be recorded once and replayed, or compiled."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from ..kernels.sides import current_sides, sides
from .hooks import Hooks

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class FlatCall:
    """`run(inputs, constants, state)` -> [B, h, w, C] does the same device operations in every call of the same `kind`.

    inputs: tensors that every call has its own of. constants: those that stay for a run. state: those that hooks keep
    from call to call, read and written where they lie.
    """

    kind: Hashable
    inputs: list[Tensor]
    constants: list[Tensor]
    state: list[Tensor]
    run: Callable[[Tensors, Tensors, Tensors], Tensor]


def flat_call(
    features: Callable[..., Tensor], tokens: Tensor, timestep: Tensor, prepared: Any, hooks: Hooks
) -> FlatCall:
    """`features(tokens, timestep, prepared, hooks)`, whose hooks are `fixed` and have their state."""
    constants, rebuild, shapes = leaves(prepared)
    side, keepers = current_sides(), hooks.keepers
    reads, states = ({n: getattr(k, what)() for n, k in keepers.items()} for what in ("reads", "state"))
    inputs = [tokens, timestep, *(() if side is None else (side,)), *joined(reads)]

    def run(inputs: Tensors, constants: Tensors, state: Tensors) -> Tensor:
        given, kept = iter(inputs), iter(state)
        tokens, timestep, of = next(given), next(given), None if side is None else next(given)
        own = {
            name: keeper.on(keeper.kind, list(islice(given, len(reads[name]))), list(islice(kept, len(states[name]))))
            for name, keeper in keepers.items()
        }
        with sides(of):
            return features(tokens, timestep, rebuild(iter(constants)), Hooks(**own))

    kinds = tuple((name, keeper.kind) for name, keeper in keepers.items())
    kind = kinds, tuple(form(value) for value in inputs), shapes
    return FlatCall(kind, inputs, constants, joined(states), run)


def joined(lists: Mapping[str, list[Tensor]]) -> list[Tensor]:
    return [value for own in lists.values() for value in own]


def form(value: Tensor) -> Hashable:
    return tuple(value.shape), value.dtype, value.device


def leaves(value: Any) -> tuple[list[Tensor], Callable[[Iterator[Tensor]], Any], Hashable]:
    """The tensors in a dataclass, tuple or list; what puts others in their places; and all the rest."""
    if isinstance(value, Tensor):
        return [value], next, form(value)
    if is_dataclass(value):
        make, held = (lambda items: type(value)(*items)), [getattr(value, f.name) for f in fields(value)]
    elif isinstance(value, (tuple, list)):
        make, held = type(value), list(value)
    else:
        return [], lambda tensors: value, value
    found = [leaves(item) for item in held]
    tensors = [tensor for own, _, _ in found for tensor in own]
    kinds = tuple(kind for _, _, kind in found)
    return tensors, lambda given: make([rebuild(given) for _, rebuild, _ in found]), (type(value), kinds)

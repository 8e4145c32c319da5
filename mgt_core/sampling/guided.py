"""Classifier-free guidance: the network calls it needs, and how they combine."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import NO_HOOKS
from ..conditioning.parts import ConditionInput, acting, condition_parts, unreached, weighted_mean
from ..kernels.sides import NEGATIVE, POSITIVE, sides
from ..kernels.widened import keeping
from ..patches.base import Asked, Call, Entry, Moment, Rows, RunPatch, States
from ..placement import sent
from ..types import Condition

ROLES = ("negative", "positive")  # in the order in which they are batched
SIDE = {"negative": NEGATIVE, "positive": POSITIVE}
SECOND = "second pass"  # a role of its own, with a part for each of the role that it follows
AT_ONCE = 4  # conditions evaluated in one call, at the most


@dataclass(frozen=True)
class GuidedRows:
    """Guided logits of M cells, ready to be computed for as many of them at a time as memory is to hold.

    states: [B, M, C] what the head reads, by part of a condition. positions: [B, M] the cells (None: all of them).
    combine: (logits [B, m, V] of each part, their cells) -> guided logits [B, m, V].
    """

    head: Callable[[Tensor], Tensor]
    states: dict[Entry, Tensor]
    positions: Tensor | None
    combine: Callable[[dict[Entry, Tensor], Tensor | None], Tensor]

    def rows(self, part: slice = slice(None)) -> Tensor:
        """[B, m, V], of the cells of `part`, computed in float32 whatever the network is."""
        own = torch.cat([values[:, part] for values in self.states.values()])
        tables = self.head(own.float()).chunk(len(self.states))
        positions = self.positions if self.positions is None else self.positions[:, part]
        return self.combine(dict(zip(self.states, tables, strict=True)), positions)


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, for any number of conditions. followed: the role that a second pass follows, if there is one;
    looking: the patch whose pass it is."""

    tokens: Tensor
    timestep: Tensor
    moment: Moment
    followed: str | None
    looking: RunPatch | None


@dataclass
class GuidedNetwork:
    """The network with the conditions of one run. What depends on condition and grid is prepared once.

    patches: in the order in which they act. calls: evaluations so far; passes: the same, a guided one counted as two.
    """

    network: Backbone
    positive: ConditionInput | None
    negative: ConditionInput | None
    grid: tuple[int, ...]
    patches: list[RunPatch] = field(default_factory=list)
    calls: int = 0
    passes: int = 0
    _prepared: dict = field(default_factory=dict)
    _known: dict = field(default_factory=dict)
    _known_sides: dict = field(default_factory=dict)
    _float32: dict = field(default_factory=dict)  # copies of the head's weights

    def __post_init__(self):
        self.parts = {"negative": condition_parts(self.negative), "positive": condition_parts(self.positive)}

    def logits(self, *args, **kwargs) -> Tensor:
        """Guided logits as one table [B, M, V] float32; arguments as for `evaluate`."""
        return self.evaluate(*args, **kwargs).rows()

    def evaluate(
        self,
        tokens: Tensor,
        timestep: Tensor,
        cfg: float,
        positions: Tensor | None = None,
        moment: Moment | None = None,
        second_pass: bool = True,
    ) -> Rows:
        """The network up to its head, for l_u + cfg (l_c - l_u). cfg 1 evaluates the positive condition only,
        cfg 0 the negative only.

        tokens: [B, h, w] long; timestep: [B]; positions: [B, M] cells (row-major) to evaluate the head
        on, all of them by default; moment: decides the parts of conditions that act, and what patches do.
        second_pass: whether a patch may look again (Self-Guidance does so at the positive condition, at cfg 0 at the
        negative one).
        """
        moment = moment or Moment()
        for patch in self.patches:
            patch.enter(moment)
        roles = [role for role, alone in zip(ROLES, (1, 0), strict=True) if cfg != alone]
        active = {role: acting(self.parts[role], moment.index, moment.total) for role in ROLES}
        gaps = {role: self._gap(role, active[role]) for role in ROLES}
        evaluated = ROLES if any(gaps[role] is not None for role in roles) else roles
        looking = next((p for p in self.patches if p.looks_again()), None) if second_pass else None
        followed = roles[-1] if looking and active[roles[-1]] else None
        entries = [(role, i) for role in evaluated for i in active[role]]
        states = self._states(entries, Evaluation(tokens, timestep, moment, followed, looking), positions)

        def combine(tables: dict[Entry, Tensor], cells: Tensor | None) -> Tensor:
            predicted = {role: self._mean(role, active[role], tables, cells) for role in evaluated if active[role]}
            if followed:
                second = {(followed, i): tables[SECOND, i] for i in active[followed]}
                predicted[SECOND] = self._mean(followed, active[followed], second, cells)
            # Where none of a role's parts reaches, the prediction is that of the other role.
            for role, other in (ROLES, ROLES[::-1]):
                if role not in evaluated or gaps[role] is None:
                    continue
                if role not in predicted:
                    predicted[role] = predicted[other]
                    continue
                here = cells_at(gaps[role], cells, tokens.device)[..., None]
                for name in (role, SECOND) if role == followed else (role,):
                    predicted[name] = torch.where(here, predicted[other], predicted[name])
            guided = predicted[roles[0]]
            if len(roles) == 2:
                guided = torch.lerp(predicted["negative"], predicted["positive"], cfg)
            return looking.steered(guided, predicted[followed], predicted[SECOND]) if followed else guided

        guided = GuidedRows(self.head, states, positions, combine)
        asked = Asked(tokens, cfg, positions, moment, second_pass)
        for patch in self.patches:
            guided = patch.answered(guided, asked)
        return guided

    def head(self, states: Tensor) -> Tensor:
        """The network's, of [..., C]."""
        with keeping(self._float32):
            return self.network.head(states)

    def _states(self, entries: Sequence[Entry], asked: Evaluation, positions: Tensor | None) -> States:
        """[B, M, C] for each entry, and for the second pass those of the role that it follows."""
        # Each patch is asked about what those before it leave, and completes just that, the last one first.
        wanted, offered = list(entries), []
        for patch in self.patches:
            offered.append((patch, wanted))
            known = patch.known(wanted)
            # What a second pass follows has to be evaluated.
            wanted = [entry for entry in wanted if entry not in known or entry[0] == asked.followed]
        states, seconds = self._evaluated(wanted, asked)
        for patch, own in reversed(offered):
            states = patch.completed(own, states)
        states = states | seconds
        if positions is None:
            return states
        index = positions[..., None]
        return {entry: values.gather(1, index.expand(-1, -1, values.shape[-1])) for entry, values in states.items()}

    def _evaluated(self, entries: Sequence[Entry], asked: Evaluation) -> tuple[States, States]:
        """[B, N, C] by the network, and by a second pass for those that are followed: entries of equal shapes share
        a call; prompts of different length do not."""
        alike: dict[tuple, list] = {}
        for role, i in entries:
            alike.setdefault(tuple(sorted(self.parts[role][i].condition.shapes.items())), []).append((role, i))
        states, seconds = {}, {}
        for group in alike.values():
            for first in range(0, len(group), AT_ONCE):
                part = tuple(group[first : first + AT_ONCE])
                features, hidden = self._evaluate(part, asked)
                states |= zip(part, features.chunk(len(part)), strict=True)
                for entry, ended in zip(part, hidden.chunk(len(part)) if asked.followed else (), strict=False):
                    if entry[0] == asked.followed:
                        seconds[SECOND, entry[1]] = self._look_again(entry, ended, asked)
        return states, seconds

    def _evaluate(self, entries: tuple[Entry, ...], asked: Evaluation) -> tuple[Tensor, Tensor | None]:
        """[entries * B, N, C] for the head; before a second pass also where the blocks ended [entries * B, S, C]."""
        count = len(entries)
        self.calls += 1
        self.passes += count
        call = Call(self.network, entries, torch.cat([asked.tokens] * count), asked.moment)
        hooks, features = NO_HOOKS, self.network.features
        for patch in self.patches:
            hooks, features = patch.hooks(hooks, call), patch.around(features, call)
        last: deque[Tensor] = deque(maxlen=1)
        if asked.followed:
            hooks = replace(hooks, taps=last)
        with sides(self._sides(call)):
            out = features(call.tokens, asked.timestep.repeat(count), self._prepare(entries), hooks)
        return out.flatten(1, -2), last[0] if asked.followed else None

    def _look_again(self, entry: Entry, hidden: Tensor, asked: Evaluation) -> Tensor:
        """[B, N, C] of a second pass, after a first one that ended with `hidden`."""
        self.calls += 1
        self.passes += 1
        call = Call(self.network, (entry,), asked.tokens, asked.moment)
        with sides(self._sides(call)):
            return asked.looking.look_again(call, hidden, asked.timestep, self._prepare((entry,))).flatten(1, -2)

    def _sides(self, call: Call) -> Tensor:
        """[entries * B] long, the side of every image of a call."""
        images = len(call.tokens) // len(call.entries)
        key = call.entries, images
        if key not in self._known_sides:
            parts = [torch.full((images,), SIDE[role], device=call.tokens.device) for role, _ in call.entries]
            self._known_sides[key] = torch.cat(parts)
        return self._known_sides[key]

    def _prepare(self, entries: tuple[Entry, ...]):
        if entries not in self._prepared:
            condition = Condition.cat([self.parts[role][i].condition for role, i in entries])
            prepared = self.network.prepare(condition, self.grid)
            for patch in self.patches:
                prepared = patch.prepared(prepared, self.network)
            self._prepared[entries] = prepared
        return self._prepared[entries]

    def _mean(self, role: str, active: tuple[int, ...], tables: dict, positions: Tensor | None) -> Tensor:
        found = [tables[role, i] for i in active]
        if len(active) == 1:
            return found[0]
        weights = [torch.as_tensor(self.parts[role][i].weight, dtype=torch.float32) for i in active]
        return weighted_mean(found, [cells_at(weight, positions, found[0].device) for weight in weights])

    def _gap(self, role: str, active: tuple[int, ...]) -> Tensor | None:
        """Cells that no active part of `role` reaches, or None."""
        weights = [self.parts[role][i].weight for i in active]
        if any(not isinstance(weight, Tensor) and weight > 0 for weight in weights):
            return None  # known without asking a device
        if (role, active) not in self._known:
            missing = unreached([self.parts[role][i] for i in active])
            self._known[role, active] = missing if bool(missing.any()) else None
        return self._known[role, active]


def cells_at(table: Tensor, positions: Tensor | None, device: torch.device) -> Tensor:
    """A table over [1 or B, h, w], or one value, at `positions` [B, M] (all cells when None), on `device`."""
    table = sent(table, device)
    cells = table.flatten(1) if table.ndim else table.reshape(1, 1)
    if positions is None or cells.shape[1] == 1:
        return cells
    return cells.expand(positions.shape[0], -1).gather(1, positions)

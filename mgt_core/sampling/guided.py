"""Classifier-free guidance: its value over a run, the network calls it needs, and how they combine."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..backbones.hooks import NO_PATCHES, RunPatches
from ..conditioning.parts import Given, acting, parts_of, unreached, weighted_mean
from ..errors import MGTError, finite_number
from ..interval import check_interval, in_interval
from ..patches.guidance_reuse import RunReuse
from ..patches.token_cache import Entry
from ..placement import sent
from ..types import Condition

if TYPE_CHECKING:
    from ..model import MGTModel
    from ..self_guidance.branch import Branch

# Weight between the value outside and the full value, at x from 0 (first step) to 1 (last).
GUIDANCE_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda x: 1.0,
    "rising": lambda x: x,
    "falling": lambda x: 1 - x,
    "cosine rising": lambda x: (1 - math.cos(math.pi * x)) / 2,
}


@dataclass(frozen=True)
class GuidanceSchedule:
    """Guidance over the run. Step k of T uses the run's value w when start <= k / T < end, and
    `outside` elsewhere (1: the positive condition alone, at half the cost).

    Guidance interval, arXiv 2404.07724; eMIGM (arXiv 2503.07197) finds it for masked models.
    shape: inside the interval: constant (always w), rising from `outside` at its first step to w at its
    last, falling, or cosine rising.
    """

    start: float = 0.0
    end: float = 1.0
    shape: str = "constant"
    outside: float = 1.0

    def __post_init__(self):
        check_interval("guidance", self.start, self.end)
        finite_number("guidance outside", self.outside, 0, 1000)
        if self.shape not in GUIDANCE_SHAPES:
            raise MGTError(f"guidance shape is {self.shape!r}; accepted are {', '.join(GUIDANCE_SHAPES)}")

    def at(self, cfg: float, index: int, total: int) -> float:
        """Guidance of step `index` of `total` when the run asks for `cfg`."""
        if not in_interval(self.start, self.end, index, total):
            return self.outside
        if self.shape == "constant":
            return cfg
        inside = [k for k in range(total) if in_interval(self.start, self.end, k, total)]
        first, last = inside[0], inside[-1]
        x = (index - first) / (last - first) if last > first else 1.0
        return self.outside + (cfg - self.outside) * GUIDANCE_SHAPES[self.shape](x)


ROLES = ("negative", "positive")  # in the order in which they are batched
SECOND = "second"  # look, of Self-Guidance: a role of its own, with a part for each of the role that it follows
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
        """[B, m, V] float32, of the cells of `part`."""
        own = torch.cat([values[:, part] for values in self.states.values()])
        tables = self.head(own).float().chunk(len(self.states))
        positions = self.positions if self.positions is None else self.positions[:, part]
        return self.combine(dict(zip(self.states, tables, strict=True)), positions)


@dataclass
class GuidedNetwork:
    """The network with the conditions of one run. What depends on condition and grid is prepared once."""

    model: "MGTModel"
    positive: Given | None
    negative: Given | None
    grid: tuple[int, int]
    patches: RunPatches | None = None
    reuse: RunReuse | None = None
    calls: int = 0
    passes: int = 0
    branch: "Branch | None" = None
    perturb: Callable[[Tensor], Tensor] | None = None  # see Patches
    _prepared: dict = field(default_factory=dict)
    _known: dict = field(default_factory=dict)

    def __post_init__(self):
        self.parts = {"negative": parts_of(self.negative), "positive": parts_of(self.positive)}

    def logits(
        self,
        tokens: Tensor,
        timestep: Tensor,
        cfg: float,
        positions: Tensor | None = None,
        at: tuple[int, int] = (0, 1),
        aside: float = 0.0,
    ) -> Tensor:
        """Guided logits as one table [B, M, V] float32; arguments as for `evaluate`."""
        return self.evaluate(tokens, timestep, cfg, positions, at, aside).rows()

    def evaluate(
        self,
        tokens: Tensor,
        timestep: Tensor,
        cfg: float,
        positions: Tensor | None = None,
        at: tuple[int, int] = (0, 1),
        aside: float = 0.0,
    ) -> GuidedRows:
        """The network up to its head, for l_u + cfg (l_c - l_u). cfg 1 evaluates the positive condition only,
        cfg 0 the negative only.

        tokens: [B, h, w] long; timestep: [B]; positions: [B, M] cells (row-major) to evaluate the head
        on, all of them by default; at: (step, steps), which decides the parts of conditions that act.
        aside: scale s of Self-Guidance, which adds s (l_c - l_H) with the run's branch; at cfg 0 it follows the
        negative condition instead.
        """
        roles = [role for role, alone in zip(ROLES, (1, 0), strict=True) if cfg != alone]
        active = {role: acting(self.parts[role], *at) for role in ROLES}
        gaps = {role: self._gap(role, active[role]) for role in ROLES}
        evaluated = ROLES if any(gaps[role] is not None for role in roles) else roles
        followed = roles[-1] if aside and active[roles[-1]] else None
        entries = [(role, i) for role in evaluated for i in active[role]]
        states = self._states(entries, tokens, timestep, positions, followed)

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
            return guided + aside * (predicted[followed] - predicted[SECOND]) if followed else guided

        return GuidedRows(self.model.network.head, states, positions, combine)

    def enter(self, index: int, total: int, all_masked: Sequence[bool]) -> None:
        """Told before every evaluation: step `index` of `total`, and of which images no cell is known."""
        for part in (self.patches, self.reuse):
            if part is not None:
                part.enter(index, total, all_masked)

    def _states(
        self,
        entries: Sequence[Entry],
        tokens: Tensor,
        timestep: Tensor,
        positions: Tensor | None,
        followed: str | None,
    ) -> dict[Entry, Tensor]:
        """[B, M, C] for each entry, those of negative ones perhaps by guidance reuse, and for the second look at
        the followed ones."""
        # What a second look follows has to be evaluated.
        reused = [] if self.reuse is None or followed == "negative" else self.reuse.known(entries)
        wanted = [entry for entry in entries if entry not in reused]
        states, seconds = self._evaluated(wanted, tokens, timestep, followed)
        if self.reuse is not None:
            states = self.reuse.states(entries, states) | states
        states |= seconds
        if positions is None:
            return states
        index = positions[..., None]
        return {entry: values.gather(1, index.expand(-1, -1, values.shape[-1])) for entry, values in states.items()}

    def _evaluated(
        self, entries: Sequence[Entry], tokens: Tensor, timestep: Tensor, followed: str | None
    ) -> tuple[dict[Entry, Tensor], dict[Entry, Tensor]]:
        """[B, N, C] by the network, and by a second look at those that are followed: entries of equal shapes share
        a call; prompts of different length do not."""
        alike: dict[tuple, list] = {}
        for role, i in entries:
            alike.setdefault(tuple(sorted(self.parts[role][i].condition.shapes.items())), []).append((role, i))
        states, seconds = {}, {}
        for group in alike.values():
            for first in range(0, len(group), AT_ONCE):
                part = tuple(group[first : first + AT_ONCE])
                features, hidden = self._evaluate(part, tokens, timestep, followed is not None)
                states |= zip(part, features.chunk(len(part)), strict=True)
                for (role, i), ended in zip(part, hidden.chunk(len(part)) if followed else (), strict=False):
                    if role == followed:
                        seconds[SECOND, i] = self._second((role, i), ended, tokens, timestep)
        return states, seconds

    def _evaluate(
        self, entries: tuple[Entry, ...], tokens: Tensor, timestep: Tensor, ended: bool
    ) -> tuple[Tensor, Tensor | None]:
        """[entries * B, N, C] for the head, and where asked for what the blocks ended with, [entries * B, S, C]."""
        self.calls += 1
        self.passes += len(entries)
        tokens, timestep = tokens.repeat(len(entries), 1, 1), timestep.repeat(len(entries))
        patches = NO_PATCHES if self.patches is None else self.patches.evaluation(entries, tokens)
        last: deque[Tensor] = deque(maxlen=1)
        patches = replace(patches, taps=last if ended else None, perturb=self.perturb)
        network, compiling = self.model.network, self.model.compiling
        features = network.features if compiling is None or ended or self.perturb else compiling.features(network)
        return features(tokens, timestep, self._prepare(entries), patches).flatten(1, 2), last[0] if ended else None

    def _second(self, entry: Entry, hidden: Tensor, tokens: Tensor, timestep: Tensor) -> Tensor:
        """[B, N, C] of the second pass of Self-Guidance, after a first one that ended with `hidden`."""
        self.calls += 1
        self.passes += 1
        prepared = self._prepare((entry,))
        return self.branch.aside(self.model.network, hidden, tokens, timestep, prepared).flatten(1, 2)

    def _prepare(self, entries: tuple[Entry, ...]):
        if entries not in self._prepared:
            condition = Condition.cat([self.parts[role][i].condition for role, i in entries])
            self._prepared[entries] = self.model.network.prepare(condition, self.grid)
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

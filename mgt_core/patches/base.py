"""What a patch is: settings attached to a model, and what acts for them during a run."""

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import Hooks
from ..settings import Settings
from ..types import Step

Entry = tuple[str, int]  # a condition of a run: its role and its number there
States = dict[Entry, Tensor]  # [B, N, C] what the token head reads, by condition
Features = Callable[..., Tensor]  # Backbone.features, or what is called in its place

# Where patches act, in the order in which they get their turn, whatever the order in which they were attached:
# "network" puts another function in the place of the network's, "launch" and "step" wrap what is there then.
PLACES = ("network", "launch", "step", "blocks", "rows", "conditions", "guidance", "second pass", "answer")


@dataclass(frozen=True)
class Moment:
    """When the network is evaluated: step `index` of `total`. all_masked: of which images no cell is known."""

    index: int = 0
    total: int = 1
    all_masked: Sequence[bool] = ()


@dataclass(frozen=True)
class Call:
    """One call of the network: on tokens [B, h, w], the images once for each of the conditions `entries`."""

    network: Backbone
    entries: tuple[Entry, ...]
    tokens: Tensor
    moment: Moment


@dataclass(frozen=True)
class Asked:
    """One evaluation of a run under guidance `cfg`: on tokens [B, h, w], at cells `positions` [B, M] (None: all).
    second_pass: whether a patch may look again."""

    tokens: Tensor
    cfg: float
    positions: Tensor | None
    moment: Moment
    second_pass: bool = True


class Rows(Protocol):
    """Guided logits of the cells that an evaluation was asked for."""

    def rows(self, part: slice = slice(None)) -> Tensor:
        """[B, m, V] float32, of the cells of `part`."""
        ...


class RunPatch:
    """A patch during one run. Here every method leaves things as they are; a patch overrides those it acts by.

    in_both: whether one that a sampler adds acts in a second model of the run as well.
    """

    in_both: ClassVar[bool] = True

    def started(self, run: Any) -> None:
        """Told once, before its first evaluation: the Run, which it may read."""

    def enter(self, moment: Moment) -> None:
        """Told before every evaluation."""

    def known(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those of `entries`, what the patches before leave to evaluate, that need not be; `completed` gives their
        states."""
        return ()

    def completed(self, entries: Sequence[Entry], states: States) -> States:
        """The states of all of the same `entries`, from those of the ones that were evaluated, perhaps all of them."""
        return states

    def prepared(self, prepared: Any, network: Backbone) -> Any:
        """What calls of `network` are given of some conditions, as it `prepared` them; asked once a run."""
        return prepared

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        """What acts inside the blocks during a call: `hooks`, and one's own."""
        return hooks

    def around(self, features: Features, call: Call) -> Features:
        """What is called in place of `features`, which is the network's, or what a patch before made of it."""
        return features

    def looks_again(self) -> bool:
        """Whether the coming evaluation has a second pass, by `look_again`, whose prediction `steered` counts in."""
        return False

    def look_again(self, call: Call, hidden: Tensor, timestep: Tensor, prepared: object) -> Tensor:
        """[B, h, w, C] features of the second pass over `call`, which the blocks ended with `hidden` [B, S, C]."""
        raise NotImplementedError

    def steered(self, guided: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Guided logits [B, m, V], given those that both passes predict for the condition that is followed."""
        raise NotImplementedError

    def answered(self, rows: Rows, asked: Asked) -> Rows:
        """What an evaluation gives, where it would give `rows` without this patch."""
        return rows

    def chosen(self, ids: Tensor, step: Step) -> Tensor:
        """What becomes of ids [B, m] that a step drew for its cells, before they are scored."""
        return ids


@dataclass(frozen=True)
class Patch(Settings, ABC):
    """Settings of a patch. What it remembers during a run lives in what `begin` returns, and ends with the run.

    slot: a patch takes the place of one attached before that has the same. title: what people call it. place: where
    it acts, one of PLACES. needs: what the backbone has to have in its `supports`, if anything. extra_passes:
    evaluations of a condition that it adds to a step. in_files: whether its settings can be written as JSON.
    """

    slot: ClassVar[str]
    title: ClassVar[str]
    place: ClassVar[str]
    needs: ClassVar[str] = ""
    extra_passes: ClassVar[int] = 0
    in_files: ClassVar[bool] = True

    @property
    def companions(self) -> tuple[Any, ...]:
        """Models (MGTModel) that it has evaluated in a run, beside the one it is attached to."""
        return ()

    def with_companions(self, changed: Callable[[Any], Any]) -> "Patch":
        """The same with others in the place of its companions, those that `changed` makes of them."""
        return self

    def check(self, network: Backbone) -> None:
        """Raises MGTError for a network that it cannot act in."""
        if self.needs:
            network.check_supports(self.needs, self.title)

    def guidance(self, cfg: float, index: int, total: int) -> float:
        """Guidance of step `index` of `total` where it would be `cfg` without this patch."""
        return cfg

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        """Memory that it holds during a run, of `rows` image rows in all and numbers of `size` bytes."""
        return 0

    def begin(self, network: Backbone) -> RunPatch:
        """A fresh one for one run."""
        return RunPatch()


def in_turn(patches: Sequence[Patch]) -> list[Patch]:
    """In the order in which they act."""
    return sorted(patches, key=lambda patch: PLACES.index(patch.place))

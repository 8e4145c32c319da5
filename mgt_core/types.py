"""The objects that travel between nodes, samplers and models. All frozen: nothing mutates its input."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from .errors import MGTError, finite_number, whole_number
from .plain import plain_number
from .settings import hold

UNCONDITIONAL = -1  # as a label: the class that a model was trained with for no class at all
DEFAULT_AESTHETIC_SCORE = 6.0
MOST_IMAGES = 4096  # in a batch
MOST_TOKENS = 2**24  # in a batch: 4096 grids of 64 x 64, whose logits no device holds at once
HIGHEST_ID = 2**31 - 1  # of a token
PICTURES, SOUND = "pictures", "sound"  # what tokens stand for
ONE = {PICTURES: "picture", SOUND: "sound"}
COUNTED = {PICTURES: "images", SOUND: "sounds"}  # in a batch
NO_WORD = -1  # in a prompt that is shorter than others beside it, before its first word
CONDITION_RANKS = {"hidden": 3, "pooled": 2, "micro": 2, "labels": 1, "prompt": 2, "visible": 2}


@dataclass(frozen=True)
class Condition:
    """What a backbone is conditioned on; a field a model does not use stays None.

    hidden: [B, L, D] float, text token states. pooled: [B, P] float, one vector a prompt.
    micro: [B, 5] float (width, height, crop top, crop left, aesthetic score; pixels and 0..10).
    labels: [B] long, class ids, or UNCONDITIONAL.
    prompt: [B, L] long, ids of words and perhaps of pictures, as a language model reads them; NO_WORD before the first
    word where prompts are of different lengths. gaps: whether it holds any, None where nobody has looked.
    visible: [B, L] bool, which rows of hidden may be attended to; None for all of them.
    """

    hidden: Tensor | None = None
    pooled: Tensor | None = None
    micro: Tensor | None = None
    labels: Tensor | None = None
    prompt: Tensor | None = None
    visible: Tensor | None = None
    gaps: bool | None = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        for name, value in self._present().items():
            rank = CONDITION_RANKS[name]
            if not isinstance(value, Tensor) or value.ndim != rank:
                held = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise MGTError(
                    f"the condition has {name} of {held}; expected a tensor of {rank} dimensions, batch first"
                )
        if self.visible is not None:
            rows = None if self.hidden is None else self.hidden.shape[:2]
            if self.visible.dtype != torch.bool or self.visible.shape != rows:
                raise MGTError(
                    f"the condition has visible of {self.visible.dtype} and shape {list(self.visible.shape)}; expected "
                    "truth values, one for each row of hidden"
                )

    @property
    def batch(self) -> int:
        """Number of conditions. Raises MGTError when the fields disagree or none is set."""
        sizes = {name: value.shape[0] for name, value in self._present().items()}
        if not sizes:
            raise MGTError("the condition is empty: it holds neither text, labels nor micro-conditions")
        if len(set(sizes.values())) > 1:
            raise MGTError(f"the condition holds fields of different batch sizes: {sizes}")
        return next(iter(sizes.values()))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Condition":
        """Moved copy; only hidden and pooled change dtype (micro-conditions keep float32)."""
        moved = {name: value.to(device) for name, value in self._present().items()}
        for name in ("hidden", "pooled"):
            if name in moved:
                moved[name] = moved[name].to(dtype)
        if "micro" in moved:
            moved["micro"] = moved["micro"].float()
        return Condition(**moved, gaps=self.has_gaps)

    def expand(self, batch: int, counted: str = COUNTED[PICTURES]) -> "Condition":
        """One condition repeated for `batch` images, or what else is `counted`, or `batch` conditions as they are.

        Raises MGTError for any other count.
        """
        own = self.batch
        if own == batch:
            return self
        if own != 1:
            raise MGTError(f"the condition holds {own} prompts for {batch} {counted}; give 1 or {batch}")
        return Condition(**{n: v.expand(batch, *v.shape[1:]) for n, v in self._present().items()}, gaps=self.gaps)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every field that is set, without the batch."""
        return {name: tuple(value.shape[1:]) for name, value in self._present().items()}

    @property
    def has_gaps(self) -> bool:
        """Asks the device where it lies, if nobody has looked."""
        if self.gaps is None:
            return self.prompt is not None and bool((self.prompt == NO_WORD).any())
        return self.gaps

    def with_micro(self, micro: Tensor) -> "Condition":
        return replace(self, micro=micro)

    def _present(self) -> dict[str, Tensor]:
        values = {name: getattr(self, name) for name in CONDITION_RANKS}
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def cat(conditions: "list[Condition]") -> "Condition":
        """Along the batch; all must hold the same fields and shapes."""
        present = [c._present() for c in conditions]
        if any(p.keys() != present[0].keys() for p in present):
            raise MGTError(
                "positive and negative conditions hold different fields: " + "; ".join(", ".join(p) for p in present)
            )
        for name in present[0]:
            shapes = {tuple(p[name].shape[1:]) for p in present}
            if len(shapes) > 1:
                raise MGTError(f"positive and negative conditions differ in the shape of {name}: {sorted(shapes)}")
        gaps = any(c.has_gaps for c in conditions)
        return Condition(**{name: torch.cat([p[name] for p in present]) for name in present[0]}, gaps=gaps)


def micro_conditions(
    size: tuple[int, int], crop: tuple[int, int] = (0, 0), aesthetic_score: float = DEFAULT_AESTHETIC_SCORE
) -> Tensor:
    """[1, 5] float (width, height, crop top, crop left, aesthetic score). size: (height, width) in pixels;
    crop: (top, left) in pixels. Meissonic (arXiv 2410.08261, section 3.2) after SDXL."""
    values = (size[1], size[0], crop[0], crop[1], aesthetic_score)
    return torch.tensor([[*map(plain_number, values)]], dtype=torch.float32)


@dataclass(frozen=True)
class TokenState:
    """A batch of token grids, some cells still to be filled. Of pictures H and W are their sides; of sound H is the
    number of code books, and W that of frames.

    tokens: [B, H, W] long, ids below codebook_size, or mask_id where the cell is not filled yet.
    fixed: [B, H, W] bool, given by the user and never resampled.
    revealed_at: [B, H, W] long, step since which the cell holds its token (-1: given, or not yet filled).
    confidence: [B, H, W] float, log-probability of the token when it was drawn (0: given).
    strength: None, and a run fills the masked cells and keeps what the others hold. Otherwise 0..1, the
    share of the run that is done (image to image): it begins late, with as many of the cells that are
    not fixed masked again, at random, as its schedule has left by then; 1 is text to image.
    makes: what the tokens stand for, PICTURES or SOUND, so that nothing takes the one for the other.
    """

    tokens: Tensor
    fixed: Tensor
    mask_id: int
    codebook_size: int
    revealed_at: Tensor | None = None
    confidence: Tensor | None = None
    strength: float | None = None
    makes: str = PICTURES

    def __post_init__(self):
        if self.strength is not None:
            hold(self, strength=finite_number("strength", self.strength, 0, 1))
        hold(self, mask_id=whole_number("mask_id", self.mask_id, 0, HIGHEST_ID))
        hold(self, codebook_size=whole_number("codebook_size", self.codebook_size, 1, HIGHEST_ID))
        for name, dtype in (("tokens", torch.long), ("fixed", torch.bool)):
            value = getattr(self, name)
            if not isinstance(value, Tensor) or value.dtype != dtype:
                held = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise MGTError(f"{name} of a token state are {held}; expected a tensor of {dtype}")
        if self.tokens.ndim != 3:
            raise MGTError(f"tokens have shape {list(self.tokens.shape)}; expected [batch, height, width]")
        if self.fixed.shape != self.tokens.shape:
            raise MGTError(
                f"fixed has shape {list(self.fixed.shape)} and tokens {list(self.tokens.shape)}; they must agree"
            )
        for name in ("revealed_at", "confidence"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, Tensor) or value.shape != self.tokens.shape):
                raise MGTError(f"{name} of a token state is of another shape than its tokens {list(self.tokens.shape)}")

    @property
    def masked(self) -> Tensor:
        """[B, H, W] bool, the cells still to be filled."""
        return self.tokens == self.mask_id

    @property
    def to_fill(self) -> Tensor:
        """[B, H, W] bool, the cells that a run over the whole schedule would fill."""
        return self.masked if self.strength is None else ~self.fixed

    def first_step(self, steps: int) -> int:
        """The step with which a run of `steps` begins: steps (1 - strength), rounded up; at strength 0
        that is `steps`, and nothing is left to do."""
        return 0 if self.strength is None else steps - int(steps * self.strength + 1e-9)

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) in tokens."""
        return self.tokens.shape[1], self.tokens.shape[2]

    @property
    def batch(self) -> int:
        return self.tokens.shape[0]

    def check(self) -> None:
        """Raises MGTError for ids that are neither codes nor the mask, for fixed cells that are masked, and for grids
        without cells."""
        if not self.tokens.numel():
            raise MGTError(f"tokens have shape {list(self.tokens.shape)}, which holds no cell")
        bad = (self.tokens != self.mask_id) & ((self.tokens < 0) | (self.tokens >= self.codebook_size))
        if bad.any():
            raise MGTError(
                f"tokens hold the code {int(self.tokens[bad][0])}; their model has {self.codebook_size}, from 0 to "
                f"{self.codebook_size - 1}, and {self.mask_id} for a masked cell"
            )
        if (self.fixed & self.masked).any():
            raise MGTError("a fixed cell holds the mask token; fixed cells must hold a code")

    def to(self, device: torch.device | str) -> "TokenState":
        moved = {
            n: v.to(device)
            for n in ("tokens", "fixed", "revealed_at", "confidence")
            if (v := getattr(self, n)) is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Step:
    """One step of a run, as modifiers and callbacks see it.

    tokens: [B, H, W] long, the grid before the step. generators, seeds: one per image.
    positions: [B, M] long, the cells (row-major index into the grid) whose logits a modifier is handed;
    masked: [B, M] bool, which of them are to be filled. visit: which evaluation within the step this is,
    for samplers that go back and forth. calls: network evaluations so far; passes: the same with a
    guided evaluation counted as two. outcome: makes `result`; set only for callbacks. note: what the sampler has to say
    of the run so far, in a sentence.
    """

    index: int
    total: int
    tokens: Tensor
    generators: tuple[torch.Generator, ...] = ()
    seeds: tuple[int, ...] = ()
    positions: Tensor | None = None
    masked: Tensor | None = None
    visit: int = 0
    calls: int = 0
    passes: int = 0
    outcome: Callable[[], TokenState] | None = field(default=None, repr=False, compare=False)
    note: str = ""

    @cached_property
    def result(self) -> TokenState | None:
        """The state after the step, on the device the run was given its tokens on; moved there when first asked for."""
        return self.outcome() if self.outcome is not None else None

    @property
    def cells(self) -> int:
        """Of each image's grid, whatever its shape."""
        return self.tokens.shape[1:].numel()

    @property
    def progress(self) -> float:
        """Share of the run that is done after this step, (index + 1) / total."""
        return (self.index + 1) / self.total


Callback = Callable[[Step], None]


class Maker(Protocol):
    """A model, a codec, or tokens. makes: PICTURES or SOUND."""

    @property
    def makes(self) -> str: ...


def check_makes(wanted: str, doing: str, **held: Maker) -> None:
    """Raises MGTError where what is held, by the name to tell it by, is not of what `doing` is about."""
    for name, each in held.items():
        if each.makes != wanted:
            verb = "are" if name.endswith("s") else "is"
            raise MGTError(f"{doing} is for {wanted}, and the {name} given {verb} of {each.makes}")


def empty_state(
    batch: int, grid: tuple[int, int], mask_id: int, codebook_size: int, makes: str = PICTURES
) -> TokenState:
    """All cells masked: where text-to-image starts. Raises MGTError for more than MOST_TOKENS."""
    shape = (batch, *grid)
    check_count(*shape)
    return TokenState(
        tokens=torch.full(shape, mask_id, dtype=torch.long),
        fixed=torch.zeros(shape, dtype=torch.bool),
        mask_id=mask_id,
        codebook_size=codebook_size,
        makes=makes,
    )


def check_count(batch: int, height: int, width: int) -> None:
    """Raises MGTError for more tokens than a batch may hold, before they are made."""
    if batch * height * width > MOST_TOKENS:
        raise MGTError(
            f"{batch} grids of {width} x {height} tokens are asked for; accepted are {MOST_TOKENS:,} tokens in all: "
            "make smaller ones, or fewer at once"
        )

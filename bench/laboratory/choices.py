"""What is chosen in decoding: an order or a way to score, counts, and what acts on the logits."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import mgt_core
from mgt_core import FixedOrder, MaskedZSampling, MaskGIT, MGTModel, Momentum, Sampler, ZSampling
from mgt_core.lab.branch import LabBranch
from mgt_core.lab.draws import BatchDraws, batch_noise

Attach = Callable[[MGTModel], MGTModel]
VANILLA, HALTON = "vanilla", "Halton, cosine counts"
HOT = (1000.0, 1000.0)


@dataclass(frozen=True)
class Choice:
    """passes: how many a run of T steps takes, a T - b, as (a, b). draws: whether it draws more than tokens, such as
    noise on the logits."""

    name: str
    sampler: Sampler
    schedule: str = "cosine"
    attach: Attach = field(default=lambda model: model)
    passes: tuple[int, int] = (1, 0)
    draws: bool = False

    @property
    def ready(self) -> Sampler:
        return replace(self.sampler, draws=BatchDraws)

    @property
    def fixed(self) -> bool:
        """Whether order and counts do not look at what was drawn, so that the run records log q, or a bound of it."""
        return isinstance(self.sampler, FixedOrder)

    @property
    def bounded(self) -> bool:
        """Whether the recorded KL is an upper bound alone: that of pictures and whatever else was drawn together, which
        may be many times that of the pictures."""
        return self.fixed and (self.draws or self.sampler.roll or self.sampler.order == "random")

    def steps(self, budget: int) -> int:
        """As many as do not take more passes than that, at least one."""
        a, b = self.passes
        return max(1, (budget + b) // a)


def modified(*parts: mgt_core.Modifier) -> Attach:
    def attach(model: MGTModel) -> MGTModel:
        for part in parts:
            model = model.with_modifier(part)
        return model

    return attach


def noisy(amplitude: float) -> Attach:
    return modified(mgt_core.NoiseRegularization(amplitude, source=batch_noise))


def self_guided(model: MGTModel) -> MGTModel:
    return model.with_self_guidance(LabBranch(model.codebook_size), 0.5)


def order(name: str, counts: str) -> Choice:
    """A fixed order with a schedule's counts, or the sampler's own arccos law."""
    law = {"counts": "arccos"} if counts == "arccos" else {"counts": "schedule"}
    schedule = "cosine" if counts == "arccos" else counts
    return Choice(f"{name[0].upper()}{name[1:]}, {counts} counts", FixedOrder(name, **law), schedule)


# What acts on the logits, whatever the order.
LOGITS: dict[str, tuple] = {
    "noise regularization 0.5": (noisy(0.5), (1, 0), True),
    "noise regularization 2": (noisy(2.0), (1, 0), True),
    "differential sampling 0.75": (modified(mgt_core.DifferentialSampling(0.75)), (1, 0)),
    "differential sampling 0.75, formula": (modified(mgt_core.DifferentialSampling(0.75, rule="formula")), (1, 0)),
    "entropy temperature": (modified(mgt_core.EntropyTemperature()), (1, 0)),
    "top-p 0.9": (modified(mgt_core.TopKTopP(p=0.9)), (1, 0)),
    "min-p 0.1": (modified(mgt_core.MinP(0.1)), (1, 0)),
    "Self-Guidance stand-in 0.5": (self_guided, (2, 0)),
}
BASE = order("halton", "cosine")
ROLLED = Choice("Halton begun anywhere, cosine counts", FixedOrder(counts="schedule", roll=True))
ORDERS = [order("halton", counts) for counts in ("arccos", "cosine", "square", "linear", "cubic", "root")]
ORDERS += [order(name, "cosine") for name in ("random", "raster")]
ON_HALTON = [
    order("halton", "arccos"),
    order("halton", "square"),
    *(Choice(f"Halton, {name}", BASE.sampler, "cosine", *part) for name, part in LOGITS.items()),
    Choice("Halton, sharpness 1.1", FixedOrder(counts="schedule", sharpness=(1.1, 1.1))),
]
ON_VANILLA = [
    *(Choice(f"temperature {first:g} → 0", MaskGIT((first, 0.0))) for first in (0.0, 0.5, 4.5, 8.0)),
    Choice("random order", MaskGIT(HOT)),
    *(Choice(name, MaskGIT((2.0, 0.0)), "cosine", *part) for name, part in LOGITS.items()),
    Choice("momentum 0.5", Momentum((2.0, 0.0), momentum=0.5)),
    Choice("Z-Sampling", ZSampling((2.0, 0.0)), passes=(2, 1)),
    Choice("masked Z-Sampling", MaskedZSampling((2.0, 0.0)), passes=(3, 2)),
    BASE,
    order("halton", "arccos"),
    ROLLED,
]
PLAIN = Choice(VANILLA, MaskGIT((2.0, 0.0)))
# With guidance, which a zigzag's way back goes without, or with weight 1.
ZIGZAGS = [
    Choice("masked Z-Sampling, back at guidance 0", MaskedZSampling((2.0, 0.0), inversion_cfg=0.0), passes=(3, 2)),
    Choice("masked Z-Sampling, back at guidance 1", MaskedZSampling((2.0, 0.0), inversion_cfg=1.0), passes=(3, 2)),
]
CHOICES = {choice.name: choice for choice in (PLAIN, *ORDERS, *ON_HALTON, *ON_VANILLA, *ZIGZAGS)}

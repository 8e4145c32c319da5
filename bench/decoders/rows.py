"""What is said of every decoder beside what its class says: a row each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mgt_core


@dataclass(frozen=True)
class Row:
    """calls: of the network for a picture, T being the steps. exact: where the truth is known, whether what it draws
    follows it, with a model that makes no error. loses: what it costs, and where it is worse. settings: with which it
    is timed. laboratory, quality: what the benches call it,
    the laboratory with several settings. hook: of the network that it needs."""

    label: str
    node: str
    calls: str
    exact: str
    loses: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    laboratory: Sequence[str] = ()
    quality: str | None = None
    hook: str | None = None

    @property
    def families(self) -> str:
        """Names of the networks that it runs on."""
        kinds = {name: mgt_core.BACKBONES.get(name) for name in mgt_core.BACKBONES}
        fit = [name for name, kind in kinds.items() if self.hook is None or self.hook in kind.supports]
        return "all" if len(fit) == len(kinds) else ", ".join(fit)


ROWS: Mapping[str, Row] = {
    "maskgit": Row(
        "MaskGIT",
        "MGTSamplerMaskGIT",
        "T",
        "no: what it keeps it picks by what it drew, so that pictures are too sure, the more the more steps",
        "the baseline; many steps need more temperature",
        laboratory=("vanilla",),
        quality="vanilla",
    ),
    "halton": Row(
        "Halton",
        "MGTSamplerHalton",
        "T",
        "with one cell a step; the nearest of all here with few cells a step",
        "looks at nothing that it drew: completes fewer objects rightly than MaskGIT",
        laboratory=("Halton, cosine counts",),
        quality="Halton order, cosine counts",
        settings={"counts": "schedule"},
    ),
    "momentum": Row(
        "Momentum",
        "MGTSamplerMomentum",
        "T",
        "no",
        "surer still than MaskGIT with many steps",
        laboratory=("momentum 0.5",),
        quality="momentum 0.5",
    ),
    "zsampling": Row(
        "Z-Sampling",
        "MGTSamplerZ",
        "2 T − 1",
        "no",
        "twice the calls; half the steps at equal cost",
        laboratory=("Z-Sampling",),
        quality="Z-Sampling on half the steps",
    ),
    "masked_zsampling": Row(
        "Masked Z-Sampling",
        "MGTSamplerMaskedZ",
        "3 T − 2",
        "no",
        "three times the calls",
        laboratory=("masked Z-Sampling",),
        quality="masked Z-Sampling",
    ),
    "one_step": Row(
        "One step",
        "MGTSamplerOneStep",
        "1",
        "no: it draws the product of marginals",
        "for weights distilled for it (Di[M]O); others make noise with it",
    ),
    "first_hitting": Row(
        "First-hitting",
        "MGTSamplerFirstHitting",
        "T at the most: steps without an event are skipped; with tokens = 1 as many as cells",
        "**with tokens = 1, whatever T**; else as the ancestral sampler of T steps",
        "looks at nothing that it drew, as Halton, and its cells lie anywhere, so that neighbours are drawn together",
        laboratory=("first-hitting", "first-hitting, a cell at a time"),
        quality="first-hitting",
    ),
    "moment": Row(
        "Moment",
        "MGTSamplerMoment",
        "T",
        "with one cell a step and sharpening = 0",
        "with sharpening = 1 what MaskGIT draws, and as sure; with 0 (codes from p) it is not",
        laboratory=("moment", "moment, codes from p"),
        quality="moment",
    ),
    "entropy_bounded": Row(
        "Entropy-bounded",
        "MGTSamplerEntropyBounded",
        "as the picture needs, T at the most",
        "**within T · bound nats**; with one cell a step exact",
        "a bound that is large for the picture reveals cells that depend on each other, and lies farther from the "
        "truth than MaskGIT; a small one needs as many calls as cells; in a batch the slowest picture counts",
        laboratory=("entropy-bounded 2", "entropy-bounded 1", "entropy-bounded 8"),
        quality="entropy-bounded",
    ),
    "klass": Row(
        "KLASS",
        "MGTSamplerKLASS",
        "as the picture needs, T at the most",
        "no: beside what is stable it keeps what MaskGIT keeps",
        "where predictions are never as sure as its threshold it saves nothing (words with noise); where much is open, "
        "fewer good drawings; keeps one table of logits",
        laboratory=("KLASS 0.7",),
        quality="KLASS",
    ),
    "remdm": Row(
        "ReMDM",
        "MGTSamplerReMDM",
        "T",
        "in the limit of many steps",
        "in few steps farther from the truth than MaskGIT: what it masks again is missing at the end",
        laboratory=("ReMDM, rescale 0.2",),
        quality="ReMDM",
    ),
    "token_editing": Row(
        "Token editing",
        "MGTSamplerTokenEditing",
        "2 T (T where networks were trained to see their own tokens: view in place)",
        "no: an edit takes the likeliest code",
        "twice the calls; sharpens, so that with many steps pictures are surer still than MaskGIT's",
        laboratory=("token editing",),
        quality="token editing",
    ),
    "gibbs": Row(
        "Gibbs corrector",
        "MGTSamplerGibbs",
        "T (1 + sweeps)",
        "a sweep of one cell leaves the truth as it is; of several not, and yet comes near in fewer calls",
        "twice the calls; in few steps farther from the truth than MaskGIT",
        laboratory=("Gibbs corrector", "Gibbs corrector, a cell a sweep"),
        quality="Gibbs corrector",
    ),
    "path_planning": Row(
        "Path planning (P2)",
        "MGTSamplerPathPlanning",
        "T; with a planner T more of its own",
        "no: it picks by what it drew, as MaskGIT",
        "takes back what the model doubts, so that pictures are surer still than MaskGIT's; the token head runs on "
        "every cell; a planner needs room for a second network",
        laboratory=("path planning",),
        quality="path planning",
    ),
    "magnet": Row(
        "MAGNeT",
        "MGTSamplerMAGNeT",
        "T",
        "no: it picks by what it drew, and without noise",
        "made for sound, where neighbours nearly tell each other; those in a row of a picture are drawn together; "
        "top-p sorts all codes of a cell; waits for the device once a step",
    ),
    "best_of": Row(
        "Best of n",
        "MGTSamplerBestOf",
        "n T, and n pictures scored",
        "no: it draws from the best of n, which is its aim",
        "n times all; the reward is what you get, its faults too",
        laboratory=("best of 4, the surest",),
        quality="best of 4, the surest",
    ),
    "particles": Row(
        "Particles",
        "MGTSamplerParticles",
        "n T, and n pictures scored at every scored step",
        "**p · exp(λ reward) for many particles**, picked as drawn, over an exact sampler",
        "n times all; few particles end alike",
        quality="particles, 4, by sureness",
    ),
    "uncage": Row(
        "UNCAGE",
        "MGTSamplerUNCAGE",
        "T",
        "no: MaskGIT with another order",
        "needs prompts of several objects, and attention that tells them apart; on the built-in model no gain was "
        "shown",
        hook="attention",
    ),
}

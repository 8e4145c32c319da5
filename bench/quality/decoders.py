"""The decoders that came after MaskGIT, as they are by default unless a name says another, at the temperature of all.

UNCAGE, which has to be told the objects of every prompt, is measured by `bench.quality.uncage`, and what rewards do to
candidates and particles by `bench.steering`.
"""

import mgt_core

from .decoding import Case

SURE = "best of 4, the surest"


def decoder(name: str, kind: type[mgt_core.Sampler], **settings) -> Case:
    return Case(name, settings={"sampler": kind(**settings)})


def steady() -> list[Case]:
    """One network call a step, or fewer."""
    return [
        decoder("first-hitting", mgt_core.FirstHitting),
        decoder("moment", mgt_core.MomentSampler),
        decoder("entropy-bounded", mgt_core.EntropyBounded),
        decoder("KLASS", mgt_core.KLASS),
        decoder("ReMDM", mgt_core.ReMDM),
        decoder("path planning", mgt_core.PathPlanning),
    ]


def exploring() -> Case:
    """For what leaves something open."""
    return decoder("moment, half explored", mgt_core.MomentSampler, exploration=0.5)


def dear() -> list[Case]:
    """More calls a step."""
    return [
        decoder("token editing", mgt_core.TokenEditing),
        decoder("Gibbs corrector", mgt_core.GibbsCorrector),
    ]


def candidates() -> list[Case]:
    """Several pictures of which one stays, by the model's own sureness."""
    return [decoder(SURE, mgt_core.BestOf, n=4)]


def rescored(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    """By the same model without guidance: half of what is drawn from is what the prompt alone says."""
    return model.with_patch(mgt_core.Rescoring(model.with_guidance(mgt_core.GuidanceSchedule(end=0.0))))


def named() -> list[Case]:
    """Of prompts that name everything, with guidance."""
    return [*steady(), *dear(), Case("rescoring without guidance, 0.5", rescored), *candidates()]

"""The decoders that came after MaskGIT, with the settings that their nodes start with unless a name says another.

UNCAGE, which has to be told the objects of every prompt, is measured by `bench.quality.uncage`; rewards that look at
pictures are not: the judge here would be judged by itself.
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
        decoder("moment, half explored", mgt_core.MomentSampler, exploration=0.5),
        decoder("entropy-bounded", mgt_core.EntropyBounded),
        decoder("KLASS", mgt_core.KLASS),
        decoder("ReMDM", mgt_core.ReMDM),
        decoder("path planning", mgt_core.PathPlanning),
    ]


def dear() -> list[Case]:
    """More calls a step."""
    return [
        decoder("token editing", mgt_core.TokenEditing),
        decoder("Gibbs corrector", mgt_core.GibbsCorrector),
    ]


def candidates() -> list[Case]:
    """Several pictures of which one stays, by the model's own sureness."""
    return [
        decoder(SURE, mgt_core.BestOf, n=4),
        decoder("particles, 4, by sureness", mgt_core.Particles, n=4),
    ]


def rescored(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    """By the same model without guidance: half of what is drawn from is what the prompt alone says."""
    return model.with_patch(mgt_core.Rescoring(model.with_guidance(mgt_core.GuidanceSchedule(end=0.0))))


def named() -> list[Case]:
    """Of prompts that name everything, with guidance."""
    return [*steady(), *dear(), Case("rescoring without guidance, 0.5", rescored), *candidates()]

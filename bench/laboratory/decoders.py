"""The decoders that came after MaskGIT, as choices."""

from dataclasses import replace

import mgt_core
from mgt_core.lab.backbone import lab_model
from mgt_core.lab.errors import LogitNoise, Wrong

from .choices import Choice

WARM = (2.0, 0.0)  # as vanilla
TWICE = (2, 0)


def rescored(model: mgt_core.MGTModel) -> mgt_core.MGTModel:
    """Beside a model with noise, one with noise of its own; beside another, the same."""
    own = model.network.predictor
    if isinstance(own, Wrong) and isinstance(own.error, LogitNoise):
        own = Wrong(own.right, replace(own.error, seed=own.error.seed + 1))
    return model.with_patch(mgt_core.Rescoring(lab_model(own)))


ONCE = Choice("first-hitting, a cell at a time", mgt_core.FirstHitting(tokens=1))
AT_EVENTS = Choice("first-hitting", mgt_core.FirstHitting())
MOMENT = Choice("moment", mgt_core.MomentSampler(WARM))
FROM_P = Choice("moment, codes from p", mgt_core.MomentSampler(WARM, sharpening=0.0))
EXPLORING = Choice("moment, half explored", mgt_core.MomentSampler(WARM, exploration=0.5))
P2 = Choice("path planning", mgt_core.PathPlanning(WARM))
REMDM = Choice("ReMDM, rescale 0.2", mgt_core.ReMDM(WARM))
LOOPED = Choice("ReMDM, loop", mgt_core.ReMDM(WARM, strategy="cap", eta=0.05, pace="loop", start=0.45, end=0.95))
EDITING = Choice("token editing", mgt_core.TokenEditing(WARM), passes=TWICE)
GIBBS = Choice("Gibbs corrector", mgt_core.GibbsCorrector(WARM), passes=TWICE)
SINGLE = Choice("Gibbs corrector, a cell a sweep", mgt_core.GibbsCorrector(WARM, portion=0.0), passes=TWICE)
RESCORED = Choice("rescoring", mgt_core.MaskGIT(WARM), "cosine", rescored, TWICE)
BEST = Choice("best of 4, the surest", mgt_core.BestOf(4, sampler=mgt_core.MaskGIT(WARM)), passes=(4, 0))
REVISING = (P2, REMDM, LOOPED, EDITING, GIBBS, SINGLE)
STEADY = (AT_EVENTS, MOMENT, FROM_P, EXPLORING, *REVISING, RESCORED, BEST)


def bounded(bound: float) -> Choice:
    """The paper has no noise on the order."""
    return Choice(f"entropy-bounded {bound:g}", mgt_core.EntropyBounded(0.0, bound=bound))


def stable(confidence: float) -> Choice:
    """With the other thresholds as published: these truths have cells that are as sure."""
    return Choice(f"KLASS {confidence:g}", mgt_core.KLASS(WARM, confidence=confidence, kl=0.01))


HALF, ONE, TWO, EIGHT = map(bounded, (0.5, 1.0, 2.0, 8.0))
STABLE, SURER = map(stable, (0.7, 0.9))
DECODERS = {each.name: each for each in (ONCE, *STEADY, HALF, ONE, TWO, EIGHT, STABLE, SURER)}

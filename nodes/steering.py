"""Samplers that make several candidates for a picture, and keep what a reward likes best."""

from .. import mgt_core
from .samplers import SamplerChoice
from .types import MGT_REWARD, MGT_SAMPLER, interval, node, setting_inputs, socket


class SteeredChoice(SamplerChoice):
    """What they share: their sockets, and how many candidates there are."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": setting_inputs(cls.part, cls.tooltips, cls.rare),
            "optional": {
                "reward": socket(
                    MGT_REWARD,
                    "What a picture is worth, from one of the reward nodes. Unwired: how sure the model is of its own "
                    "tokens, which costs nothing and knows nothing of what you want.",
                ),
                "sampler": socket(MGT_SAMPLER, "How each candidate is made. Unwired: as the model recommends."),
            },
        }


@node("MGT Best of N Sampler")
class MGTSamplerBestOf(SteeredChoice):
    DESCRIPTION = (
        "Makes several candidates for every picture and keeps the one that a reward likes best. Any sampler and any "
        "model, at n times the cost."
    )
    SEARCH_ALIASES = ["best of n", "reward", "candidates", "rerank", "choose", "pick the best", "steering"]
    part = mgt_core.BestOf
    rare = ("at_once",)
    tooltips = {
        "n": "How many candidates for every picture; 1 is the sampler alone. The first one is the picture that the "
        "seed gives without this node, and more candidates only add to those of fewer.",
        "at_once": "How many candidates of a picture run together: 1 takes no more memory than one picture, 0 as many "
        "as the device has room for. The result is the same.",
    }


@node("MGT Particles Sampler")
class MGTSamplerParticles(SteeredChoice):
    DESCRIPTION = (
        "Makes several candidates together and scores on the way what each would become: those that promise more take "
        "the places of the others (sequential Monte Carlo, Feynman-Kac steering)."
    )
    SEARCH_ALIASES = ["particles", "smc", "sequential monte carlo", "feynman-kac", "fk steering", "reward", "steering"]
    part = mgt_core.Particles
    rare = ("potential", "pick", "start", "end")
    tooltips = {
        "n": "How many particles for every picture, all at once: memory and cost of as many pictures. 1 is the sampler "
        "alone. Several populations one after the other: wire this node into MGT Best of N Sampler.",
        "weight": "How much one unit of the reward counts (lambda): 0 ignores it, much lets the best candidate of a "
        "step take all places. Rewards whose candidates differ by hundredths want hundreds.",
        "every": "Steps from one scoring to the next. Each decodes and scores every particle once.",
        "threshold": "Particles are drawn anew where the effective number of them falls below this share of n: 1 at "
        "every scoring, 0 never, which leaves best of n.",
        "potential": "What counts on the way: difference, what a step has gained; max, the best so far; sum, all of "
        "them together. The end makes up for it: all aim at the same law.",
        "pick": "best: of the particles at the end the one of the highest reward. drawn: one by its weight, which is "
        "what follows the law exactly.",
        **interval("scoring"),
    }

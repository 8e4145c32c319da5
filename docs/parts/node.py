"""nodes/sharpen.py: nodes for a modifier or patch, and for a sampler. A new module of the folder is found by itself."""

from ..mgt_core.modifiers.sharpen import Sharpen
from ..mgt_core.patches.step_reuse import StepReuse
from ..mgt_core.samplers.second_thoughts import SecondThoughts
from .patches import ModelPatch
from .samplers import ConfidenceChoice
from .types import interval, node


@node("MGT Sharpen")
class MGTSharpen(ModelPatch):
    DESCRIPTION = "Multiplies the logits."
    SEARCH_ALIASES = ["temperature", "sharpness"]
    part = Sharpen
    # One widget each, in this order; where start and end are the part of the run in which it acts.
    tooltips = {"factor": "Above 1 likelier tokens are drawn more often; 1 changes nothing.", **interval("it")}


@node("MGT Step Reuse")
class MGTStepReuse(ModelPatch):
    DESCRIPTION = "Evaluates the network in some of the steps only."
    SEARCH_ALIASES = ["speed", "faster"]
    part = StepReuse
    tooltips = {"every": "Steps from one evaluation to the next; 1 changes nothing."}


@node("MGT Second Thoughts Sampler")
class MGTSamplerSecondThoughts(ConfidenceChoice):
    DESCRIPTION = "MaskGIT that may take back tokens it was less sure of."
    SEARCH_ALIASES = ["remasking", "revise"]
    part = SecondThoughts
    tooltips = {"doubt": "How readily it takes back what it has kept; 0 keeps all."}

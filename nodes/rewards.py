"""What a picture is worth, for samplers that try several."""

from ..mgt_core.errors import MGTError
from ..mgt_core.plain import lines_of
from ..mgt_core.rewards.colour import ColourAgreement, colour_of
from ..mgt_core.rewards.mask import MaskAgreement
from ..mgt_core.rewards.measured import Measured
from ..mgt_core.rewards.measures import measures
from ..mgt_core.rewards.prompt import PromptAgreement
from ..mgt_core.rewards.scorers import SCORERS
from ..mgt_core.rewards.weighted import MOST_WEIGHT, WeightedSum
from . import scorers
from .graph_reward import GraphMeasure, link_of, plan_of
from .inputs import judged
from .types import (
    FLOAT,
    IMAGE,
    INT,
    MASK,
    MGT_REWARD,
    STRING,
    PartChoice,
    combo,
    image_input,
    node,
    number,
    setting_inputs,
    socket,
    switch,
    text_input,
)

SUMMED = 4  # rewards that one node adds


class RewardChoice:
    """What nodes of rewards share."""

    CATEGORY = "MGT/rewards"
    RETURN_TYPES = (MGT_REWARD,)
    RETURN_NAMES = ("reward",)
    OUTPUT_TOOLTIPS = ("The reward, for MGT Best of N Sampler, MGT Particles Sampler or MGT Sum of Rewards.",)
    FUNCTION = "make"


@node("MGT Colour Reward")
class MGTRewardColour(RewardChoice, PartChoice):
    DESCRIPTION = (
        "Rewards pictures for having a colour: everywhere, in the background, in what stands before it, or under a "
        "mask. From 0 to 1 for exactly that colour; needs no weights."
    )
    SEARCH_ALIASES = ["color", "colour", "palette", "background color", "steering", "guidance"]
    part = ColourAgreement
    tooltips = {
        "where": "everywhere: all of the picture; background: what has a colour of the border; object: all else.",
        "lightness": "How much a difference in lightness counts, beside that of hue and saturation: 0 takes light and "
        "dark red alike.",
    }
    rare = ("lightness",)

    @classmethod
    def INPUT_TYPES(cls):
        colour = STRING, {"default": "red", "tooltip": "The colour: a name as red, #ff0000, or rgb(255, 0, 0)."}
        mask = MASK, {"tooltip": "Where to look, one mask for all images or one for each. Unwired: the whole picture."}
        widgets = setting_inputs(cls.part, cls.tooltips, cls.rare)
        return {"required": {"colour": colour, **widgets}, "optional": {"mask": mask}}

    @classmethod
    def VALIDATE_INPUTS(cls, colour=None):
        return judged(colour_of, colour)


@node("MGT Mask Reward")
class MGTRewardMask(RewardChoice, PartChoice):
    DESCRIPTION = (
        "Rewards pictures whose object lies where a mask has it: intersection over union of the mask and of what "
        "differs from the background's colours. From 0 to 1; needs no weights."
    )
    SEARCH_ALIASES = ["layout", "iou", "position", "segmentation", "steering"]
    part = MaskAgreement
    tooltips = {
        "contrast": "How far a colour has to be from the background's to belong to the object: 0.02 is just seen."
    }
    rare = ()

    @classmethod
    def INPUT_TYPES(cls):
        mask = MASK, {"tooltip": "Where the object is to be, one mask for all images or one for each."}
        return {"required": {"mask": mask, **setting_inputs(cls.part, cls.tooltips, cls.rare)}}

    @classmethod
    def VALIDATE_INPUTS(cls):
        return True


@node("MGT Prompt Reward")
class MGTRewardPrompt(RewardChoice):
    DESCRIPTION = (
        "Rewards pictures for showing what a prompt says, or for what people would pick for it, by a published "
        "network: CLIP, PickScore or HPSv2.1, which are downloads of their own."
    )
    SEARCH_ALIASES = ["clip score", "pickscore", "hps", "aesthetic", "human preference", "alignment"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "scorer": combo(
                    list(SCORERS),
                    "CLIP ViT-L/14: how near picture and prompt are; PickScore and HPSv2.1: what people would pick. "
                    "Their folders belong into models/clip_vision; Hugging Face's cache is looked at too.",
                ),
                "prompt": text_input("What the pictures should show; usually the prompt they are made for."),
                "one_a_line": switch("Each line is the prompt of one image of the batch; empty lines are left out."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, scorer=None):
        return judged(scorers.missing, scorer)

    @classmethod
    def IS_CHANGED(cls, scorer=None, **others):
        return scorers.changes(scorer)

    def make(self, scorer: str, prompt: str, one_a_line: bool):
        texts = [line for line in lines_of(prompt) if line.strip()] if one_a_line else [prompt]
        if not texts:
            raise MGTError("prompt has no line with a text; expected one for each image")
        unit = "logit" if scorer == "PickScore" else "cosine"
        return (PromptAgreement(scorers.load(scorer), texts, unit),)


@node("MGT Sum of Rewards")
class MGTRewardSum(RewardChoice):
    DESCRIPTION = "Adds rewards, each times its weight. They are added as they are: weights make up for other ranges."
    SEARCH_ALIASES = ["combine rewards", "weighted sum", "several rewards", "multi objective"]

    @classmethod
    def INPUT_TYPES(cls):
        groups: dict[str, dict] = {"required": {}, "optional": {}}
        for place in range(1, SUMMED + 1):
            group = groups["required" if place == 1 else "optional"]
            group[f"reward_{place}"] = socket(MGT_REWARD, "A reward, from one of the reward nodes.")
            group[f"weight_{place}"] = number(
                f"Weight of reward_{place}; below 0 for what is not wanted, 0 leaves it out.",
                1.0,
                -MOST_WEIGHT,
                MOST_WEIGHT,
            )
        return groups

    def make(
        self,
        reward_1,
        weight_1: float,
        reward_2=None,
        weight_2: float = 1.0,
        reward_3=None,
        weight_3: float = 1.0,
        reward_4=None,
        weight_4: float = 1.0,
    ):
        rewards = (reward_1, weight_1), (reward_2, weight_2), (reward_3, weight_3), (reward_4, weight_4)
        return (WeightedSum(tuple((reward, weight) for reward, weight in rewards if reward is not None)),)


@node("MGT Candidate Picture")
class MGTCandidatePicture:
    DESCRIPTION = (
        "Stands for each picture that a sampler tries, in front of the nodes that score it: lead it through any of "
        "them to a number, and that to MGT Reward from Graph."
    )
    CATEGORY = "MGT/rewards"
    SEARCH_ALIASES = ["reward input", "custom reward", "steering", "script"]
    RETURN_TYPES = (IMAGE, INT)
    RETURN_NAMES = ("image", "index")
    OUTPUT_TOOLTIPS = (
        "One picture at a time, as MGT Decode would give it.",
        "For which image of the batch it is tried, counted from 0.",
    )
    FUNCTION = "stand_in"

    @classmethod
    def INPUT_TYPES(cls):
        example = (
            IMAGE,
            {"tooltip": "A picture to try the nodes with, where they also lead elsewhere, as to a preview."},
        )
        return {"required": {}, "optional": {"example": example}}

    def stand_in(self, example=None):
        if example is None:
            raise MGTError(
                "this node has a picture only while a sampler tries some: lead it to MGT Reward from Graph alone, or"
                " wire an example"
            )
        return example[:1], 0


@node("MGT Reward from Graph")
class MGTRewardFromGraph(RewardChoice):
    DESCRIPTION = (
        "Makes a reward of nodes: those between MGT Candidate Picture and this one run for every picture that a "
        "sampler tries, and the number that comes out is its reward."
    )
    SEARCH_ALIASES = ["custom reward", "reward function", "script", "score", "image to float"]
    INPUT_IS_LIST = True
    ACCEPT_ALL_INPUTS = True  # of the graph that this node puts in its place

    @classmethod
    def INPUT_TYPES(cls):
        options = {"forceInput": True, "rawLink": True, "lazy": True}
        tooltip = "A number that nodes make of the image of MGT Candidate Picture; higher is better."
        return {
            "required": {"score": (f"{FLOAT},{INT}", {**options, "tooltip": tooltip})},
            "hidden": {
                "unique_id": "UNIQUE_ID",
                "prompt": "PROMPT",
                "dynprompt": "DYNPROMPT",
                "extra_pnginfo": "EXTRA_PNGINFO",
            },
        }

    def make(self, score, unique_id, prompt, dynprompt, extra_pnginfo, **given):
        """given: outputs of other nodes that the graph takes. Where they are not there yet, this node stands in for
        itself with links to them, so that the host works them as it works all nodes."""
        end = link_of(score[0])
        if end is None:
            raise MGTError(f"score is {score[0]!r}; expected a link from a node that makes a number of a picture")
        plan = plan_of(end, dynprompt[0].get_node)
        wanted = {link.key: list(link) for link in plan.taken}
        if wanted.keys() - given.keys():
            again = f"{unique_id[0]}.reward"
            graph = {again: {"class_type": type(self).__name__, "inputs": {"score": list(end), **wanted}}}
            return {"result": ([again, 0],), "expand": graph}
        hidden = {"PROMPT": prompt[0], "DYNPROMPT": dynprompt[0], "EXTRA_PNGINFO": extra_pnginfo[0]}
        return (Measured(GraphMeasure(plan, given, hidden), "score of MGT Reward from Graph"),)


@node("MGT Picture Statistics")
class MGTPictureStatistics:
    DESCRIPTION = (
        "Measures pictures: brightness, contrast, saturation and sharpness as numbers, for MGT Reward from Graph or "
        "to look at. Means over a batch."
    )
    CATEGORY = "MGT/rewards"
    SEARCH_ALIASES = ["brightness", "contrast", "saturation", "sharpness", "measure image", "image to float"]
    RETURN_TYPES = (FLOAT, FLOAT, FLOAT, FLOAT)
    RETURN_NAMES = ("brightness", "contrast", "saturation", "sharpness")
    OUTPUT_TOOLTIPS = (
        "Mean luma, 0 for black to 1 for white.",
        "Standard deviation of the luma: 0 for one brightness, 0.5 for half black and half white.",
        "Mean difference between the largest and the smallest of red, green and blue: 0 for grey, 1 for pure colours.",
        "Root mean square of the luma's Laplacian: 0 for one brightness, some 0.05 for a photograph.",
    )
    FUNCTION = "measure"

    @classmethod
    def INPUT_TYPES(cls):
        mask = MASK, {"tooltip": "Where to look, one mask for all pictures or one for each. Unwired: everywhere."}
        return {"required": {"image": image_input("The pictures to measure.")}, "optional": {"mask": mask}}

    def measure(self, image, mask=None):
        return tuple(measures(image, mask))

"""Nodes that choose how many tokens are revealed at each step."""

from .. import mgt_core
from .types import MGT_SCHEDULE, combo, node


@node("MGT Mask Schedule")
class MGTMaskSchedule:
    DESCRIPTION = "Decides how many tokens are still masked after each step. Cosine starts slowly and ends fast."
    CATEGORY = "MGT/schedules"
    SEARCH_ALIASES = ["scheduler", "cosine", "linear", "gamma", "maskgit"]
    RETURN_TYPES = (MGT_SCHEDULE,)
    RETURN_NAMES = ("schedule",)
    OUTPUT_TOOLTIPS = ("The mask schedule, for MGT Sample.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "schedule": combo(
                    mgt_core.list_schedules(),
                    "Family of the curve. cosine, the usual choice, reveals few tokens early, when least is known.",
                    default="cosine",
                )
            }
        }

    def make(self, schedule: str):
        return (mgt_core.SCHEDULES.get(schedule)(),)

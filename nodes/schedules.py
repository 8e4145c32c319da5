"""Nodes that choose how many tokens are revealed at each step."""

from .. import mgt_core
from ..mgt_core.errors import MGTError, shortened
from ..mgt_core.plain import lines_of
from ..mgt_core.schedules.closed_form import Pow
from ..mgt_core.schedules.sigmoid import Sigmoid
from .inputs import judged
from .types import MGT_SCHEDULE, SUGGESTED, PartChoice, combo, node, setting_input, text_input

FAMILIES = [name for name in mgt_core.list_schedules() if mgt_core.SCHEDULES.get(name).listed]
SIGMOID = ("sigmoid_start", "sigmoid_end", "sigmoid_tau")


class ScheduleChoice(PartChoice):
    """What schedule nodes share."""

    CATEGORY = "MGT/schedules"
    RETURN_TYPES = (MGT_SCHEDULE,)
    RETURN_NAMES = ("schedule",)
    OUTPUT_TOOLTIPS = ("The mask schedule, for MGT Sample or MGT Plot Schedule.",)


@node("MGT Mask Schedule")
class MGTMaskSchedule(ScheduleChoice):
    DESCRIPTION = "Decides how many tokens are still masked after each step. Cosine starts slowly and ends fast."
    SEARCH_ALIASES = ["scheduler", "cosine", "linear", "gamma", "maskgit", "sigmoid", "arccos"]
    SHOWN_FOR = {"exponent": {"schedule": ["pow"]}} | dict.fromkeys(SIGMOID, {"schedule": ["sigmoid"]})

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "schedule": combo(
                    FAMILIES,
                    "Family of the curve. cosine, the usual choice, reveals few tokens early, when least is known.",
                    default=SUGGESTED["schedule"],
                ),
                "exponent": setting_input(
                    Pow,
                    "exponent",
                    "For pow only, no effect on the others: p of the curve 1 − r^p. 1 is linear, 2 square, 3 cubic; "
                    "below 1 most tokens are revealed early.",
                ),
                "sigmoid_start": setting_input(
                    Sigmoid,
                    "start",
                    "For sigmoid only, no effect on the others: where on the sigmoid the run starts.",
                ),
                "sigmoid_end": setting_input(
                    Sigmoid,
                    "end",
                    "For sigmoid only, no effect on the others: where on the sigmoid the run ends, above the start.",
                ),
                "sigmoid_tau": setting_input(
                    Sigmoid,
                    "tau",
                    "For sigmoid only, no effect on the others: its width. Small values reveal most tokens in the "
                    "middle of the run, large ones go towards linear.",
                ),
            }
        }

    def make(self, schedule: str, exponent: float, sigmoid_start: float, sigmoid_end: float, sigmoid_tau: float):
        parameters = {
            "pow": {"exponent": exponent},
            "sigmoid": {"start": sigmoid_start, "end": sigmoid_end, "tau": sigmoid_tau},
        }
        return (mgt_core.SCHEDULES.get(schedule)(**parameters.get(schedule, {})),)


@node("MGT Custom Curve")
class MGTCustomCurve(ScheduleChoice):
    DESCRIPTION = "A mask schedule of your own: a smooth falling curve through the points you give."
    SEARCH_ALIASES = ["mask schedule", "spline", "points", "gamma", "scheduler"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "points": text_input(
                    "One point a line, progress and masked fraction: '0.5 0.75' leaves three quarters of the tokens "
                    "masked at half of the run. The first is '0 1' and the last '1 0'; progress rises, the fraction "
                    "never does.",
                    "0 1\n0.5 0.75\n1 0",
                )
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, points=None):
        return judged(lambda text: mgt_core.CustomCurve(points=curve_points(text)), points)

    def make(self, points: str):
        return (mgt_core.CustomCurve(points=curve_points(points)),)


def curve_points(text: str) -> tuple[tuple[float, float], ...]:
    """(progress, fraction) of every line that is not empty. Raises MGTError naming the first bad line."""
    points = []
    for number_, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            progress, fraction = map(float, line.replace(",", " ").split())
        except ValueError:
            raise MGTError(
                f"line {number_} of points is {shortened(line, 40)!r}; "
                "expected two numbers, progress and fraction, such as 0.5 0.75"
            ) from None
        points.append((progress, fraction))
    return tuple(points)

"""What is compared with vanilla: sets of choices by name, or settings from a file as bench.sweep has them."""

from collections.abc import Mapping
from pathlib import Path

from mgt_core.errors import MGTError, reason

from ..kept import json_in

VANILLA = "vanilla"
Choices = dict[str, dict]  # settings of a sweep, by name; vanilla's first

# As the authors run them: xie-lab-ml/Bags_of_Tricks_Meissonic, demo.py and src/.
NOISE = {"noise_regularization": {"amplitude": 2.0}}
DIFFERENTIAL = {"differential_sampling": {"share": 0.75}}
ZIGZAG = {"sampler": {"name": "masked_zsampling", "inversion_cfg": 0.0}}
MERGING = {"token_merging": {"ratio": 0.25, "blocks": "joint"}}
NEGATIVE = (
    "worst quality, low quality, low res, blurry, distortion, watermark, logo, signature, text, jpeg artifacts, "
    "signature, sketch, duplicate, ugly, identifying mark"
)

SETS: dict[str, Choices] = {
    "paper": {
        "noise regularization": NOISE,
        "differential sampling": DIFFERENTIAL,
        "masked Z-Sampling": ZIGZAG,
        "Z-Sampling": {"sampler": "zsampling"},
        "token merging": MERGING,
        "SCQ (w4a8)": {"quantization": "w4a8"},
    },
    "paper-pairs": {
        "masked Z-Sampling and noise regularization": ZIGZAG | NOISE,
        "masked Z-Sampling and differential sampling": ZIGZAG | DIFFERENTIAL,
    },
    # Those that came later, as their nodes have them at first. UNCAGE has to be told the objects of every prompt.
    "decoders": {
        "Halton, cosine counts": {"sampler": {"name": "halton", "counts": "schedule"}, "schedule": "cosine"},
        "first-hitting": {"sampler": "first_hitting"},
        "moment": {"sampler": "moment"},
        "moment, half explored": {"sampler": {"name": "moment", "exploration": 0.5}},
        "entropy-bounded": {"sampler": "entropy_bounded"},
        "KLASS": {"sampler": "klass"},
        "ReMDM": {"sampler": "remdm"},
        "token editing": {"sampler": "token_editing"},
        "Gibbs corrector": {"sampler": "gibbs"},
        "path planning": {"sampler": "path_planning"},
        "best of 4, the surest": {"sampler": {"name": "best_of", "n": 4}},
    },
}


def read_choices(wanted: str) -> Choices:
    """A set by its name, or a JSON object of settings by name. What a file calls vanilla is compared with; without it
    that is the model as its authors run it. Raises MGTError for what is neither."""
    found = SETS[wanted] if wanted in SETS else of_file(Path(wanted).expanduser())
    return {VANILLA: {}} | found


def of_file(file: Path) -> Choices:
    try:
        held = json_in(file)
    except OSError:
        raise MGTError(f"choices is {str(file)!r}; accepted are {', '.join(SETS)} or a JSON file of settings") from None
    except ValueError as error:
        raise MGTError(f"the choices {file} are not valid JSON ({reason(error)})") from None
    if not isinstance(held, dict) or not held.keys() - {VANILLA}:
        raise MGTError(f"the choices {file} are no JSON object of settings by name, one of them other than {VANILLA}")
    return held


def twin_name(steps: int) -> str:
    return f"{VANILLA}, {steps} steps"


def twins(costs: Mapping[str, Mapping]) -> dict[str, int]:
    """Steps in which vanilla makes as many passes, for each choice that makes more or fewer. costs: passes and steps
    of a picture, by name of the choice."""
    own = costs[VANILLA]
    found = {name: max(1, round(own["steps"] * each["passes"] / own["passes"])) for name, each in costs.items()}
    return {name: steps for name, steps in found.items() if steps != own["steps"]}

"""What comes to a node is looked at before the node works: a socket can be wired to any pack's nodes, and widgets to
numbers that they would not offer."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import mgt_core
from ..mgt_core.backbones.branch import Branch
from ..mgt_core.codecs.encodec import HIGHEST_RATE
from ..mgt_core.codecs.token_codec import TokenCodec
from ..mgt_core.conditioning.text import TextEncoder
from ..mgt_core.errors import MGTError, finite_number, whole_number
from ..mgt_core.plain import whole_text
from ..mgt_core.rewards.base import Reward
from ..mgt_core.samplers.base import Sampler
from ..mgt_core.schedules.base import MaskSchedule
from ..mgt_core.shares import checked_shares

LONGEST_TEXT = 100_000  # characters of a widget: some 20,000 words, which a text encoder takes in 300 parts
MOST_VALUES = 2**32  # of a batch of pictures, 17 GB; more is a view of fewer, and no work could be done on it
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

PARTS: dict[str, tuple[type, str]] = {
    "MGT_MODEL": (mgt_core.MGTModel, "the model of MGT Load Model"),
    "MGT_TEXT": (TextEncoder, "the text encoder of MGT Load Model"),
    "MGT_CODEC": (TokenCodec, "the codec of MGT Load Model"),
    "MGT_TOKENS": (mgt_core.TokenState, "tokens, as MGT Empty Tokens or MGT Sample gives"),
    "MGT_SCHEDULE": (MaskSchedule, "a mask schedule, as MGT Mask Schedule gives"),
    "MGT_SAMPLER": (Sampler, "a sampler, as MGT MaskGIT Sampler gives"),
    "MGT_REWARD": (Reward, "a reward, as MGT Colour Reward gives"),
    "MGT_BRANCH": (Branch, "the branch of MGT Load Self-Guidance"),
}


class Declared(NamedTuple):
    """An input as far as it is the same at every call: the kind of a combo is COMBO."""

    kind: str
    low: float
    high: float
    optional: bool


def looks_at_inputs(node: type, title: str = "this node") -> None:
    """Has the function of a node class raise MGTError for inputs that are none. title: what the node is called.

    RENAMED_INPUTS of the class gives today's name of a socket by the one it had: hosts hand on what is linked to a
    name that a node does not declare, so that graphs of before go on running. FOR is what its models and codecs make,
    where those of something else have no meaning, and INSTEAD the node for these.
    """
    function = getattr(node, node.FUNCTION)
    names = list(signature(function).parameters)
    renamed: Mapping[str, str] = getattr(node, "RENAMED_INPUTS", {})

    @wraps(function)
    def run(self, *values: Any, **named: Any) -> Any:
        given = {**dict(zip(names, (self, *values), strict=False)), **named}
        for old in renamed.keys() & given.keys():
            value = given.pop(old)
            given.setdefault(renamed[old], value)
        for name, wanted in declared(node).items():
            if name in given and not (given[name] is None and (wanted.optional or wanted.kind == "MGT_TEXT")):
                given[name] = taken(name, given[name], wanted)
                check_what_it_makes(node, title, name, given[name])
        return function(**given)

    setattr(node, node.FUNCTION, run)


def judged(check: Callable[..., Any], *values: Any) -> bool | str:
    """What VALIDATE_INPUTS answers: whether a check of values lets them pass, or what it says. A value that comes from
    another node is not known yet, and None."""
    try:
        if None not in values:
            check(*values)
    except MGTError as error:
        return str(error)
    return True


@cache
def declared(node: type) -> dict[str, Declared]:
    groups = node.INPUT_TYPES()
    found = {}
    for group in ("required", "optional"):
        for name, (kind, options) in groups.get(group, {}).items():
            low, high = options.get("min", -math.inf), options.get("max", math.inf)
            found[name] = Declared(kind if isinstance(kind, str) else "COMBO", low, high, group == "optional")
    return found


def taken(name: str, value: Any, wanted: Declared) -> Any:
    """What a node is given: numbers of any library as Python's, texts without halves of characters. Raises MGTError."""
    if wanted.kind == "INT":
        return whole_number(name, value, wanted.low, wanted.high)
    if wanted.kind == "FLOAT":
        return finite_number(name, value, wanted.low, wanted.high)
    if wanted.kind in PARTS:
        check_part(name, value, *PARTS[wanted.kind])
    elif wanted.kind in OTHERS:
        OTHERS[wanted.kind](name, value)
    return whole_text(value) if wanted.kind == "STRING" else value


def check_part(name: str, value: Any, kind: type, expected: str) -> None:
    if not isinstance(value, kind):
        raise wrong(name, called(value), expected)
    if isinstance(value, mgt_core.TokenState):
        value.check()


def check_what_it_makes(node: type, title: str, name: str, value: Any) -> None:
    """Raises MGTError for a model, codec or tokens of something else than the node is for."""
    made = getattr(node, "FOR", None)
    if made is None or getattr(value, "makes", made) == made:
        return
    other = f": take {node.INSTEAD}" if hasattr(node, "INSTEAD") else ""
    raise MGTError(f"the {name} {verb(name)} of {value.makes}, and {title} is for {made}{other}")


def check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise wrong(name, called(value), "a text")
    if len(value) > LONGEST_TEXT:
        raise wrong(name, f"a text of {len(value)} characters", f"{LONGEST_TEXT} at the most")


def check_choice(name: str, value: Any) -> None:
    if not isinstance(value, (str, int)):
        raise wrong(name, called(value), "one of the choices that the node offers")


def check_switch(name: str, value: Any) -> None:
    if not isinstance(value, (bool, int, np.bool_)) or value not in (True, False):
        raise wrong(name, repr(value), "true or false")


def check_image(name: str, value: Any) -> None:
    expected = "pictures of shape [batch, height, width, 3]"
    if isinstance(value, Tensor) and value.ndim == 4 and value.shape[-1] not in (3, 4):
        raise misshapen(name, value, expected)
    check_values(name, value, expected, (4,), FLOATS)


def check_mask(name: str, value: Any) -> None:
    if isinstance(value, Tensor) and not value.is_complex() and value.dtype not in FLOATS:
        return check_values(name, value, "a mask of shape [batch, height, width]", (2, 3), (value.dtype,))
    return check_values(name, value, "a mask of shape [batch, height, width]", (2, 3), FLOATS)


def check_values(name: str, value: Any, expected: str, ranks: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> None:
    """Raises MGTError unless it is a tensor of such a rank and kind, whose values are there and those of pictures."""
    if not isinstance(value, Tensor):
        raise wrong(name, called(value), expected)
    if value.ndim not in ranks or not 0 < value.numel() <= MOST_VALUES:
        raise misshapen(name, value, expected)
    if value.dtype not in dtypes or value.is_meta or value.layout != torch.strided:
        held = "without values" if value.is_meta else str(value.dtype if value.dtype not in dtypes else value.layout)
        raise wrong(name, held, f"{expected}, of floats")
    checked_shares(name, value)


def check_audio(name: str, value: Any) -> None:
    expected = "sound, as ComfyUI's Load Audio gives"
    if not isinstance(value, Mapping) or not {"waveform", "sample_rate"} <= value.keys():
        raise wrong(name, called(value), expected)
    wave, rate = value["waveform"], value["sample_rate"]
    if not isinstance(wave, Tensor) or wave.dtype not in FLOATS or wave.is_meta or wave.layout != torch.strided:
        raise wrong(name, f"a waveform of {getattr(wave, 'dtype', called(wave))}", f"{expected}, in floats")
    if wave.ndim != 3 or not 0 < wave.numel() <= MOST_VALUES:
        raise misshapen(name, wave, "a waveform of shape [batch, channels, samples]")
    if not bool(wave.isfinite().all()):
        raise wrong(name, "a waveform with values that are no numbers", expected)
    whole_number(f"sample_rate of {name}", rate, 1, HIGHEST_RATE)


def check_conditioning(name: str, value: Any) -> None:
    """Its form; what the entries mean is read where they are used."""
    expected = "conditioning, as MGT Text Encode gives"
    if not isinstance(value, list):
        raise wrong(name, called(value), expected)
    for entry in value:
        if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[1], dict):
            raise wrong(name, "a list of other things", expected)
        for held in (entry[0], entry[1].get("pooled_output")):
            if isinstance(held, Tensor) and (held.is_meta or held.layout != torch.strided or not held.numel()):
                raise wrong(name, f"without values ({list(held.shape)})", expected)


OTHERS: Mapping[str, Callable[[str, Any], None]] = {
    "IMAGE": check_image,
    "MASK": check_mask,
    "AUDIO": check_audio,
    "CONDITIONING": check_conditioning,
    "STRING": check_text,
    "BOOLEAN": check_switch,
    "COMBO": check_choice,
}


CALLED: Sequence[tuple[type | tuple[type, ...], str]] = (
    (type(None), "nothing"),
    (mgt_core.MGTModel, "a model"),
    (TextEncoder, "a text encoder"),
    (TokenCodec, "a codec"),
    (mgt_core.TokenState, "tokens"),
    (MaskSchedule, "a mask schedule"),
    (Sampler, "a sampler"),
    (Branch, "a branch of Self-Guidance"),
    (Reward, "a reward"),
    (Tensor, "a picture or mask"),
    (str, "a text"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (dict, "a latent, or other settings by name"),
    ((list, tuple), "a list"),
)


def called(value: Any) -> str:
    """What people would call a value; of another pack's, the name of its class."""
    own = next((word for kind, word in CALLED if isinstance(value, kind)), None)
    return own or f"what another node calls {type(value).__name__}"


def wrong(name: str, held: object, expected: str) -> MGTError:
    return MGTError(f"{name} {verb(name)} {held}; expected {expected}")


def misshapen(name: str, held: Tensor, expected: str) -> MGTError:
    verbs = "are of" if name.endswith("s") else "has"
    return MGTError(f"{name} {verbs} shape {list(held.shape)}; expected {expected}")


def verb(name: str) -> str:
    return "are" if name.endswith("s") else "is"

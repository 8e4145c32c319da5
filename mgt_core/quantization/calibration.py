"""What is shown to the network to calibrate on, and what a calibration found, as it is kept beside the weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from torch import nn

from ..errors import MGTError, finite_number, path_named, reason, several, whole_number
from ..files import replace_file, writing
from ..kernels.fused_linear import FusedLinear, beside
from ..kernels.sides import SIDES
from ..loading.disk import MAX_JSON, parse_json, read_whole
from ..sampling.draws import SEED_SPAN
from ..settings import Settings, hold, number, whole
from ..types import MOST_TOKENS
from .layers import ACTIVATIONS, Treatment

LARGEST_SCALE = 1e30  # of codes: in float32, their values stay finite
PROMPTS = (
    "a photograph of a mountain lake at sunrise",
    "portrait of an old man with a white beard, oil painting",
    "a red bicycle leaning against a brick wall",
    "a cat sleeping on a blue sofa",
)
SOUND_PROMPTS = (
    "80s electronic track with melodic synthesizers, catchy beat and groovy bass",
    "a slow piano piece, calm and sad",
    "rain on a roof and thunder far away",
    "a dog barks while a car passes by",
)


@dataclass(frozen=True)
class CalibrationRun(Settings):
    """What is shown to the network. steps, cfg: of the sampling, None takes what the model recommends (else 48 and 9).

    states: how many of the steps are recorded, spread evenly; of given pictures, how often each one is masked. grid:
    (height, width) in tokens, None for the one the model was trained at (of sound 500 of its frames at the most). seed:
    of the first image. second: whether the scales of the second calibration are kept; without it those of the first
    are, to compare.
    finetune: steps of fine-tuning of the whole network between the two, 0 for none; rate: of its AdamW; batch: masked
    pictures a step.
    """

    neutral = None

    steps: int | None = None
    states: int = whole(6, 1, 1000)
    cfg: float | None = None
    seed: int = 0
    grid: tuple[int, int] | None = None
    second: bool = True
    finetune: int = whole(0, 0, 1_000_000)
    rate: float = number(5e-6, 1e-9, 1e-2, "the rate of fine-tuning", step=1e-6)
    batch: int = whole(32, 1, 10_000, "the batch of fine-tuning")

    def __post_init__(self):
        super().__post_init__()
        hold(self, seed=whole_number("seed", self.seed, 0, SEED_SPAN - 1))
        if self.steps is not None:
            hold(self, steps=whole_number("steps", self.steps, 1, 100_000))
        if self.cfg is not None:
            hold(self, cfg=finite_number("cfg", self.cfg, 0, 1000))
        if self.grid is not None:
            hold(self, grid=checked_grid(self.grid))


def checked_grid(grid: Any) -> tuple[int, int]:
    """Height and width in tokens, as Python's own numbers. Raises MGTError for anything else."""
    height, width = several("grid", grid, "two numbers of tokens, height and width", 2)
    return whole_number("grid", height, 1, MOST_TOKENS), whole_number("grid", width, 1, MOST_TOKENS)


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, which packs the same network again without running it.

    layers: for every quantized layer, by the name that checkpoints give it, how its inputs and outputs are treated.
    finetuned: steps by which the weights that were packed had been trained further; the file does not hold those.
    """

    scheme: str
    layers: dict[str, Treatment] = field(default_factory=dict)
    finetuned: int = 0

    def save(self, path: str | PathLike) -> None:
        """Raises MGTError when it cannot be written."""
        path = path_named("calibration", path)
        with writing(path):
            replace_file(path, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | PathLike) -> "Calibration":
        """Raises MGTError for a file that holds something else."""
        path = path_named("calibration", path)
        content = read_whole(path, MAX_JSON)
        try:
            values = parse_json(content)
            layers = {str(name): treatment_from(value) for name, value in values["layers"].items()}
            return cls(str(values["scheme"]), layers, int(values.get("finetuned", 0)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise MGTError(f"{path} is not a stored calibration ({reason(error)})") from None

    def of(self, network: nn.Module) -> dict[str, Treatment]:
        """The same for `network`: what names a fused layer as a whole, as files once did, counts for all in it."""
        found = {n: how if isinstance(how, Treatment) else treatment_from(how) for n, how in self.layers.items()}
        for path, module in network.named_modules():
            if isinstance(module, FusedLinear) and path in found:
                whole_one = found.pop(path)
                found |= {beside(path, name): whole_one for name in module.names}
        return found


def treatment_from(held: Any) -> Treatment:
    """What a file says of a layer: a mapping, or as files once had it a kind and one scale. Raises KeyError, TypeError
    or ValueError for anything else."""
    if isinstance(held, Mapping):
        kind, *scales = held["kind"], held["inputs"], held["outputs"]
    else:
        kind, scale = held
        scales = [(scale or 1.0,) if kind == "static" else (), ()]
    inputs, outputs = (tuple(map(float, values)) for values in scales)
    if kind not in ACTIVATIONS or max(len(inputs), len(outputs)) > SIDES:
        raise ValueError(f"a layer is {held!r}")
    if not all(0 < scale < LARGEST_SCALE for scale in inputs + outputs):
        raise ValueError(f"a layer has the scales {inputs + outputs}; expected numbers between 0 and {LARGEST_SCALE}")
    return Treatment(kind, inputs, outputs)

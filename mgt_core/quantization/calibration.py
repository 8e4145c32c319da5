"""What is sampled to calibrate on, and what a calibration found, as it is kept beside the weights."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import MGTError, whole_number

PROMPTS = (
    "a photograph of a mountain lake at sunrise",
    "portrait of an old man with a white beard, oil painting",
    "a red bicycle leaning against a brick wall",
    "a cat sleeping on a blue sofa",
)


@dataclass(frozen=True)
class CalibrationRun:
    """What is sampled to calibrate on. steps, cfg: None takes what the model recommends (else 48 and 9).

    states: how many of the steps are recorded, spread evenly. grid: (height, width) in tokens, None for the
    one the model was trained at. seed: of the first image. second: whether the scales of the second
    calibration are kept; without it those of the first are, to compare.
    """

    steps: int | None = None
    states: int = 6
    cfg: float | None = None
    seed: int = 0
    grid: tuple[int, int] | None = None
    second: bool = True

    def __post_init__(self):
        whole_number("states", self.states, 1, 1000)


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, which packs the same network again without running it.

    layers: for every quantized layer how its inputs are treated, and the int8 scale of those that are static.
    """

    scheme: str
    layers: dict[str, tuple[str, float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Raises MGTError for a file that holds something else."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            layers = {str(name): (str(kind), float(scale)) for name, (kind, scale) in values["layers"].items()}
            return cls(str(values["scheme"]), layers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MGTError(f"{path} is not a stored calibration ({error})") from None

"""What is stored in how many bits: a frozen dataclass a scheme, registered by name."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import nn

from ..errors import MGTError, join_some
from ..registry import Registry
from ..settings import Settings, choice, share, whole
from .formats import FORMATS
from .layers import LayerSettings, PackedLayer
from .packing import rotation_size
from .surgery import replaced

SCHEMES: Registry = Registry("quantization")
NONE = "none"
GROUPS = (8, 16, 32, 64, 128)
SCALES = ("static", "dynamic")
# What people mean by a word; any other entry of `keep` is a pattern over layer names.
NAMED_PATTERNS = {"modulation": ("*norm*.linear", "*modulation*", "*ada*norm*")}


@dataclass(frozen=True)
class Scheme(Settings):
    """group_size: weights that share a scale (4 bit only). int8_share: share of the layers, those with the
    smallest output scales, whose inputs become int8 as well. activation_scales: "static", one calibrated
    scale a layer as SCQ has it, or "dynamic", one for every token, measured when it is used. keep: layers
    that stay as they are, as patterns over their names or the word "modulation". reconstruct: steps of
    layer-wise fine-tuning between the two calibrations; 0 for none (4 bit only).
    """

    neutral = None

    format: ClassVar[str]
    group_size: int = choice(16, GROUPS)
    int8_share: float = share(1 / 3)
    activation_scales: str = choice("static", SCALES)
    keep: tuple[str, ...] = ()
    reconstruct: int = whole(0, 0, 10_000)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.keep, tuple) or not all(isinstance(pattern, str) for pattern in self.keep):
            raise MGTError(f"keep is {self.keep!r}; expected a tuple of patterns over layer names")

    @property
    def static(self) -> bool:
        """Whether some layers need scales from a calibration."""
        return self.int8_share > 0 and self.activation_scales == "static"

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes a run of the network to know which layers take int8 inputs, or their scales."""
        return self.static or 0 < self.int8_share < 1 or self.reconstruct > 0

    def chosen(self, network: nn.Module, convolutions: bool = False) -> dict[str, nn.Module]:
        """The layers of `network` to quantize, by name. Raises MGTError when a pattern of `keep` fits none."""
        kinds = (nn.Linear, nn.Conv2d) if convolutions else nn.Linear
        layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}
        for entry in self.keep:
            fitting = [name for name in layers if matches(name, entry)]
            if not fitting and entry not in NAMED_PATTERNS:
                raise MGTError(f"keep names {entry!r}, which fits no layer left; the first are {join_some(layers)}")
            for name in fitting:
                del layers[name]
        return layers

    def rotation(self, layer: nn.Module) -> int:
        return 1 if isinstance(layer, nn.Conv2d) else rotation_size(layer.in_features)

    def pack(self, layer: nn.Module, activations: str = "float") -> PackedLayer:
        return FORMATS.get(self.format).pack(layer, LayerSettings(self.group_size, self.rotation(layer), activations))


def planned(network: nn.Module, scheme: Scheme, kept: tuple[str, ...] = ()) -> nn.Module:
    """`network` with its layers packed but empty: what it will weigh, without computing anything. kept:
    beginnings of names that are left out."""
    layers = {name: layer for name, layer in scheme.chosen(network).items() if not name.startswith(kept)}
    form = FORMATS.get(scheme.format)
    settings = {name: LayerSettings(scheme.group_size, scheme.rotation(layer)) for name, layer in layers.items()}
    return replaced(network, {name: form.empty(layer, settings[name]) for name, layer in layers.items()})


def matches(name: str, entry: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in NAMED_PATTERNS.get(entry, (entry,)))


def scheme_from(value: "str | Scheme | None") -> Scheme | None:
    """A scheme, a registered name, or None and "none" for no quantization."""
    if value is None or value == NONE or isinstance(value, Scheme):
        return None if value == NONE else value
    return SCHEMES.get(value)()


@SCHEMES.register("w4a8")
@dataclass(frozen=True)
class W4A8(Scheme):
    """SCQ: 4-bit weights, and int8 activations in the third of the layers that takes them best."""

    format = "asym_w4a8_int8"


@SCHEMES.register("w4a16")
@dataclass(frozen=True)
class W4A16(Scheme):
    """4-bit weights only."""

    format = "asym_w4a8_int8"
    int8_share: float = 0.0


@SCHEMES.register("w8a8")
@dataclass(frozen=True)
class W8A8(Scheme):
    """8-bit weights, and int8 activations with a scale for every token, in all layers."""

    format = "int8_tensorwise"
    int8_share: float = 1.0
    activation_scales: str = "dynamic"


@SCHEMES.register("w8a16")
@dataclass(frozen=True)
class W8A16(Scheme):
    """8-bit weights only."""

    format = "int8_tensorwise"
    int8_share: float = 0.0


@SCHEMES.register("fp8")
@dataclass(frozen=True)
class FP8(Scheme):
    """8-bit floating-point weights only."""

    format = "float8_e4m3fn"
    int8_share: float = 0.0

    def rotation(self, layer):
        return 1

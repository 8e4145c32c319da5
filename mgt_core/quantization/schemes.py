"""What is stored in how many bits: a frozen dataclass a scheme, registered by name."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import nn

from ..backbones.names import begins
from ..errors import MGTError, join_some
from ..kernels.fused_linear import FusedLinear, beside, layers_apart
from ..registry import Registry
from ..settings import Settings, choice, in_words, share, whole
from .embedding import PackedEmbedding, embeddings_in
from .formats import FORMATS
from .layers import LayerSettings, PackedLayer
from .packing import rotation_size
from .released import LAST_BLOCKS, UNLISTED
from .surgery import replaced

SCHEMES: Registry = Registry("quantization")
NONE = "none"
GROUPS = (8, 16, 32, 64, 128)
SCALES = ("static", "dynamic")
CONDITION_SCALES = ("apart", "together")
OUTPUTS = ("float", "int8")
PATTERNS = ("keep", "unranked")  # settings that hold patterns over names
# What people mean by a word; any other entry of `keep` is a pattern over layer names.
NAMED_PATTERNS = {
    "modulation": ("*norm*.linear", "*modulation*", "*ada*norm*", "*cond_embeds_mapper"),
    "unlisted": UNLISTED,
}
# What reads these computes on int8 as well, or could: attention reads its projections, the residual sum the rest.
READ_NEXT = ("*.to_[qkv]", "*.add_[qkv]_proj", "*.query", "*.key", "*.value", "*.w[qkv]")
READ_NEXT += ("*.to_out.0", "*.ff.net.2", "*.ff_context.net.2", "project_from_hidden")


@dataclass(frozen=True)
class Scheme(Settings):
    """group_size: weights that share a scale (4 bit only). int8_share: share of the layers, those with the
    smallest output scales, whose inputs become 8-bit codes as well, int8 or beside e4m3 weights e4m3; layers count as
    checkpoints name them, queries, keys and values apart. activation_scales: "static", calibrated ones as SCQ has it,
    or "dynamic", one for every token, measured when it is used. condition_scales: of static ones two a layer, for
    unconditional and conditional rows ("apart"), or one ("together"). outputs: "int8" rounds the outputs of layers with
    8-bit inputs, too, where what reads them takes them so (READ_NEXT). keep: layers that stay as they are, as patterns
    over their names or the word "modulation". reconstruct: steps of layer-wise fine-tuning between the two
    calibrations; 0 for none (4 bit only). unranked: layers whose inputs stay as they come and that do not count for the
    share, as `keep` names them; "unlisted", SCQ's default, for those that the authors' list leaves out, in a network of
    Meissonic's depth.
    """

    neutral = None

    format: ClassVar[str]
    group_size: int = choice(16, GROUPS)
    int8_share: float = share(1 / 3)
    activation_scales: str = choice("static", SCALES)
    keep: tuple[str, ...] = ()
    reconstruct: int = whole(0, 0, 10_000)
    condition_scales: str = choice("apart", CONDITION_SCALES)
    outputs: str = choice("float", OUTPUTS)
    unranked: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        for name in PATTERNS:
            if not isinstance(held := getattr(self, name), tuple) or not all(isinstance(each, str) for each in held):
                raise MGTError(f"{name} is {held!r}; expected a tuple of patterns over layer names")
        if self.outputs == "int8" and self.activation_scales != "static":
            raise MGTError("outputs is 'int8', which takes calibrated scales; activation_scales has to be 'static'")

    def in_words(self) -> str:
        """Its registered name, and the settings that are not as they usually are: "w4a8, group size 32"."""
        changed = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        return ", ".join(filter(None, (SCHEMES.name_of(type(self)), in_words(self, changed))))

    @property
    def static(self) -> bool:
        """Whether some layers need scales from a calibration."""
        return self.int8_share > 0 and self.activation_scales == "static"

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes a run of the network to know which layers take int8 inputs, or their scales."""
        return self.static or 0 < self.int8_share < 1 or self.reconstruct > 0

    @property
    def weights_alone(self) -> "Scheme":
        """The same weights, with inputs as they come: before a calibration says what becomes of these."""
        return replace(self, int8_share=0.0, outputs="float")

    def chosen(self, network: nn.Module, convolutions: bool = False) -> dict[str, nn.Module]:
        """The layers of `network` to quantize, by name, those of a fused layer each by its own. Raises MGTError when
        a pattern of `keep` fits none."""
        kinds = (nn.Linear, nn.Conv2d) if convolutions else nn.Linear
        layers = {name: layer for name, layer in layers_apart(network).items() if isinstance(layer, kinds)}
        within = {name: path for path, module in network.named_modules() for name in names_in(path, module)}
        for entry in self.keep:
            for name in fitting("keep", entry, {name: within.get(name, name) for name in layers}):
                del layers[name]
        return layers

    def ranked(self, names: Collection[str]) -> list[str]:
        """Those of the layers `names` that are ranked. Raises MGTError when a pattern of `unranked` fits none."""
        out = {name for entry in self.unranked for name in fitting("unranked", entry, {name: name for name in names})}
        return [name for name in names if name not in out]

    def rotation(self, layer: nn.Module) -> int:
        return 1 if isinstance(layer, nn.Conv2d) else rotation_size(layer.in_features)

    def pack(self, layer: nn.Module, activations: str = "float") -> PackedLayer:
        return FORMATS.get(self.format).pack(layer, LayerSettings(self.group_size, self.rotation(layer), activations))

    def packed(self, network: nn.Module, names: Collection[str]) -> Iterator[tuple[str, PackedLayer]]:
        """The layers `names` of `network`, packed; a fused one as a whole, and then taken apart."""
        for path, module in network.named_modules():
            if path in names:
                yield path, self.pack(module)
            elif wanted := [name for name in names_in(path, module) if name in names]:
                parts = self.pack(module).parts()
                yield from ((name, parts[name.rpartition(".")[2]]) for name in wanted)

    def reads_int8(self, name: str) -> bool:
        """Whether the outputs of layer `name` are rounded where its inputs are."""
        return self.outputs == "int8" and any(fnmatchcase(name, pattern) for pattern in READ_NEXT)


def planned(network: nn.Module, scheme: Scheme, kept: tuple[str, ...] = ()) -> nn.Module:
    """`network` with its layers packed but empty: what it will weigh, without computing anything. kept:
    beginnings of names that are left out."""
    layers = {name: layer for name, layer in scheme.chosen(network).items() if not begins(name, kept)}
    form = FORMATS.get(scheme.format)
    settings = {name: LayerSettings(scheme.group_size, scheme.rotation(layer)) for name, layer in layers.items()}
    empty = {name: form.empty(layer, settings[name]) for name, layer in layers.items()}
    embeddings = embeddings_in(network, getattr(network, "embeddings", ()))
    return replaced(network, empty | {name: PackedEmbedding.empty(each) for name, each in embeddings.items()})


def names_in(path: str, module: nn.Module) -> list[str]:
    """Published names of the layers in a fused one at `path`; none of any other."""
    return [beside(path, name) for name in module.names] if isinstance(module, FusedLinear) else []


def fitting(setting: str, entry: str, layers: Mapping[str, str]) -> list[str]:
    """Of the layers, each with another name that it goes by, those that a pattern or word of `setting` means. Raises
    MGTError for a pattern that fits none."""
    if entry == "unlisted" and not all(any(fnmatchcase(name, last) for name in layers) for last in LAST_BLOCKS):
        return []  # the list is of a network of Meissonic's depth
    found = [name for name, other in layers.items() if matches(name, entry) or matches(other, entry)]
    if not found and entry not in NAMED_PATTERNS:
        raise MGTError(f"{setting} names {entry!r}, which fits no layer left; the first are {join_some(layers)}")
    return found


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
    unranked: tuple[str, ...] = ("unlisted",)


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


@SCHEMES.register("w8a8_fp8")
@dataclass(frozen=True)
class W8A8FP8(FP8):
    """8-bit floating-point weights, and inputs likewise with a scale for every token, in all layers."""

    int8_share: float = 1.0
    activation_scales: str = "dynamic"

"""Linear layers and convolutions whose weights stay packed; a tile at a time is decoded to compute.

What a layer stores are parameters, named as ComfyUI names them in its files: hosts count and move
parameters, and with these the bytes are the real ones. comfy-kitchen's kernels compute where they fit, else torch's
products of 8-bit codes, else floats. None of them are run on a GPU by this project's tests, which compare
comfy-kitchen's eager backend and torch's int8 product with floats on a CPU.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MGTError
from ..kernels import eight_bit
from ..kernels.fused_linear import published_modules
from ..kernels.kitchen import kitchen
from ..kernels.sides import SIDES, sides_of
from .packing import GRID, rotate

CPU_TILE, GPU_TILE = 2**20, 2**23  # weights decoded at once
EVEN = 16  # rows, of which a GPU's tile has a multiple: its products of 8 bits take no others
CONVOLUTION = ("stride", "padding", "dilation", "groups")
ACTIVATIONS = ("float", "static", "dynamic")
SCALES = ("input_scale", "output_scale")
SMALLEST = 1e-30  # scale


@dataclass(frozen=True)
class LayerSettings:
    """How one layer is stored and computed. group: weights that share a scale (4 bit only). rotation: Hadamard
    block, 1 for none. activations: "float" as they come; "static" 8-bit codes with calibrated scales; "dynamic"
    8-bit codes with a scale for every row. Codes are int8, or e4m3 beside weights of e4m3. apart: whether there is a
    static scale for each side of guidance (see kernels/sides.py), or one for both. outputs: whether the outputs, too,
    are rounded to int8, by scales likewise."""

    group: int = 16
    rotation: int = 1
    activations: str = "float"
    apart: bool = False
    outputs: bool = False


@dataclass(frozen=True)
class Treatment:
    """What becomes of a layer's inputs and outputs. kind: as LayerSettings.activations. inputs, outputs: static scales,
    one, or one for each side of guidance; none where there are no static ones."""

    kind: str = "float"
    inputs: tuple[float, ...] = ()
    outputs: tuple[float, ...] = ()


@dataclass
class Input:
    """What packed layers of one input begin with: x [..., K], rotated. dynamic: its codes and their scales, by type,
    once a layer has made them."""

    x: Tensor
    dynamic: dict[torch.dtype, tuple[Tensor, Tensor]] = field(default_factory=dict)


class PackedLayer(nn.Module, ABC):
    """Takes the place of a Linear or Conv2d. Subclasses store the matrix [N, K].

    codes, largest: type of 8-bit inputs, and what they reach.
    backend: "auto" uses comfy-kitchen's kernels on a GPU, where they were written for, and torch's products of
    8-bit codes (see kernels/eight_bit.py); "kitchen" the former wherever they run; "plain" computes in floats.
    """

    name: ClassVar[str]
    packed: ClassVar[bool] = True  # the types of its parameters are not what is computed in, see compute_dtype
    codes: ClassVar[torch.dtype] = torch.int8
    largest: ClassVar[float] = GRID
    settings: LayerSettings
    backend: str = "auto"

    def __init__(self, source: nn.Module, settings: LayerSettings):
        """source: the layer to replace, whose shape it takes; on the meta device, before `load`."""
        super().__init__()
        self.settings = settings
        self.geometry: Callable | None = None
        if isinstance(source, nn.Conv2d):
            self.geometry = Convolution(source)
            for name in (*CONVOLUTION, "kernel_size", "out_channels"):
                setattr(self, name, getattr(source, name))
        self.names = getattr(source, "names", ())  # of the layers in it, see FusedLinear
        self.out_features, self.in_features = source.weight.shape[0], source.weight[0].numel()
        self.bias = source.bias
        shape = (SIDES,) if settings.apart else ()
        if settings.activations == "static":
            self.input_scale = parameter(torch.ones(shape, device=source.weight.device))
        if settings.outputs:
            self.output_scale = parameter(torch.ones(shape, device=source.weight.device))

    @classmethod
    def pack(cls, source: nn.Module, settings: LayerSettings) -> "PackedLayer":
        """The layer `source` in this format; its bias is shared."""
        layer = cls(source, settings)
        for name, value in cls.store(source.weight.detach().flatten(1), settings).items():
            setattr(layer, name, parameter(value))
        return layer

    @classmethod
    def empty(cls, source: nn.Module, settings: LayerSettings) -> "PackedLayer":
        """The same without memory, to be filled from a file."""
        layer = cls(source, settings)
        for name, (shape, dtype) in cls.stored(layer.out_features, layer.in_features, settings).items():
            setattr(layer, name, parameter(torch.empty(shape, dtype=dtype, device="meta")))
        return layer

    def parts(self) -> dict[str, "PackedLayer"]:
        """Each of the layers `names` by itself with the values it has here, its inputs taken as they come."""
        size = self.out_features // len(self.names)
        settings = LayerSettings(self.settings.group, self.settings.rotation)
        source, found = nn.Linear(self.in_features, size, bias=False, device="meta"), {}
        shared = {kind: shape for kind, (shape, _) in self.stored(size, self.in_features, settings).items()}
        for place, name in enumerate(self.names):
            found[name] = layer = type(self)(source, settings)
            for kind, value in self.named_parameters(recurse=False):
                if kind in SCALES:
                    continue
                # A level table, or a scale of all rows, is every part's own.
                own = value if value.shape == shared.get(kind) else value[place * size : (place + 1) * size]
                setattr(layer, kind, parameter(own.detach().clone()))
        return found

    def treated(self, how: Treatment) -> "PackedLayer":
        """The same weights, with inputs and outputs treated otherwise."""
        layer = copy.copy(self)
        layer._parameters = dict(self._parameters)
        layer.treat(how)
        return layer

    def treat(self, how: Treatment) -> None:
        """From now on its inputs and outputs are treated otherwise."""
        apart = max(len(how.inputs), len(how.outputs)) > 1
        settings = replace(self.settings, activations=how.kind, apart=apart, outputs=bool(how.outputs))
        self._parameters = {k: v for k, v in self._parameters.items() if k not in SCALES}
        self.settings = settings
        device = self.weight.device
        if how.kind == "static":
            self.input_scale = scales_tensor(how.inputs or (1.0,), apart, device)
        if how.outputs:
            self.output_scale = scales_tensor(how.outputs, apart, device)

    @property
    def treatment(self) -> Treatment:
        held = (getattr(self, name, None) for name in SCALES)
        scales = (() if value is None else tuple(value.reshape(-1).tolist()) for value in held)
        return Treatment(self.settings.activations, *scales)

    @staticmethod
    @abstractmethod
    def store(weight: Tensor, settings: LayerSettings) -> dict[str, Tensor]:
        """weight [N, K] -> the tensors to keep, by name."""

    @staticmethod
    @abstractmethod
    def stored(rows: int, width: int, settings: LayerSettings) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of what `store` gives."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows [n, K] in the type of `codes`, still rotated, and the factor of each [n, 1], or of all [1, 1]."""

    def kernels_for(self, x: Tensor) -> ModuleType | None:
        """comfy-kitchen where it is to compute with `x`, which may not be empty, as the text is between the refreshes
        of a token cache."""
        unwanted = self.backend == "plain" or (self.backend == "auto" and x.device.type != "cuda")
        if unwanted or not x.numel():
            return None
        return kitchen("w4a8_int8_linear", "int8_linear")

    def fused(self, kernels: ModuleType, x: Tensor) -> Tensor | None:
        """The product by a kernel that quantizes the rows of `x` itself, or None where there is none."""
        return None

    def config(self) -> dict:
        """What ComfyUI's `comfy_quant` tensor says of the layer, and what this pack adds to it."""
        more = {name: True for name in ("apart", "outputs") if getattr(self.settings, name)}
        return {"format": self.name, "activations": self.settings.activations, **more}

    def weight_matrix(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """[N, K] decoded and rotated back."""
        return rotate(decoded(*self.rows(0, self.out_features)), self.settings.rotation).to(dtype)

    def product(self, name: str, x: Tensor) -> Tensor:
        """As FusedLinear's: the layer `name` of those in it, without its bias."""
        size = self.out_features // len(self.names)
        return self.times(x, start := self.names.index(name) * size, start + size)

    def times(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """[..., K] times rows of the matrix, all by default; x as it comes, without the bias."""
        rows = self.rows(start, self.out_features if stop is None else stop)
        return F.linear(x, rotate(decoded(*rows), self.settings.rotation).to(x))

    def turned(self, x: Tensor) -> Input | None:
        """What `forward` begins with, and may be given; None where it may do without."""
        if self.settings.activations == "dynamic" and self.kernels_for(x):
            return None
        return Input(rotate(x, self.settings.rotation))

    def forward(self, x: Tensor, turned: Input | None = None) -> Tensor:
        """[..., K] -> [..., N] (or as the convolution has it), in the type of `x`. turned: see `turned`."""
        if self.geometry is not None:
            return self.geometry(x, self.weight_matrix(x.dtype), self.bias)
        if self.settings.activations == "dynamic" and (kernels := self.kernels_for(x)):
            out = self.fused(kernels, x)
            if out is not None:
                return out
        turned = turned or Input(rotate(x, self.settings.rotation))
        if self.settings.activations == "float":
            return self.by_tiles(turned.x, lambda *rows: float_linear(turned.x, *rows))
        codes, scale = self.quantized(turned)
        fast = self.backend != "plain"
        out = self.by_tiles(turned.x, lambda *rows: eight_bit.linear(codes, scale, *rows, x.dtype, fast))
        return rounded(out, self.output_scale) if self.settings.outputs else out

    def quantized(self, given: Input) -> tuple[Tensor, Tensor]:
        """Codes of the input [..., K], and their scale: one [1], or one a row or image [..., 1]."""
        if self.settings.activations == "static":
            scale = static_scale(self.input_scale, given.x, self.largest)
            return self.coded(given.x, scale if scale.ndim else scale[None], clip=True)
        if self.codes not in given.dynamic:
            peak = torch.linalg.vector_norm(given.x, float("inf"), -1, keepdim=True, dtype=torch.float32)
            given.dynamic[self.codes] = self.coded(given.x, (peak / self.largest).clamp(min=SMALLEST))
        return given.dynamic[self.codes]

    def coded(self, x: Tensor, scale: Tensor, clip: bool = False) -> tuple[Tensor, Tensor]:
        values = x / scale  # in float32, as the scale is
        if self.codes == torch.int8:
            values.round_()
        if clip:
            values.clamp_(-self.largest, self.largest)
        return values.to(self.codes), scale

    def by_tiles(self, x: Tensor, multiply: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> Tensor:
        """[..., N] in the type of `x`, tile by tile. multiply: from rows, their factors and their bias to [..., n]."""
        if x.device.type == "cpu":
            height = max(1, CPU_TILE // self.in_features)
        else:
            height = max(EVEN, GPU_TILE // self.in_features // EVEN * EVEN)
        if height >= self.out_features:
            return multiply(*self.rows(0, self.out_features), self.bias)
        out = x.new_empty(*x.shape[:-1], self.out_features)
        for start in range(0, self.out_features, height):
            part = slice(start, start + height)
            bias = None if self.bias is None else self.bias[part]
            out[..., part] = multiply(*self.rows(start, start + height), bias)
        return out

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {self.name}, {self.settings}"


class Convolution:
    """A convolution's geometry, without its weights."""

    def __init__(self, source: nn.Conv2d):
        if source.padding_mode != "zeros":
            raise MGTError(f"a convolution has padding_mode {source.padding_mode!r}; only zeros can be quantized")
        self.shape = source.weight.shape
        self.options = {name: getattr(source, name) for name in CONVOLUTION}

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight.view(self.shape), bias, **self.options)


def kernel_of(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """Weight of a convolution, packed or not: [N, C, h, w]."""
    if isinstance(layer, PackedLayer):
        return layer.weight_matrix(dtype).view(layer.geometry.shape)
    return layer.weight


def decoded(values: Tensor, factor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows as `PackedLayer.rows` gives them -> [n, K], rounded once."""
    values = values if values.dtype == torch.int8 else values.float()
    return torch.mul(values, factor, out=torch.empty(values.shape, dtype=dtype, device=values.device))


def float_linear(x: Tensor, values: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., K] by decoded rows, in its own type."""
    weight = decoded(values, factor, x.dtype)
    if bias is None or x.device.type != "cpu":
        return F.linear(x, weight, None if bias is None else bias.to(x.dtype))
    return F.linear(x, weight).add_(bias.to(x.dtype))  # rounded as the recorded pictures are


def parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.contiguous(), requires_grad=False)


def scales_tensor(values: tuple[float, ...], apart: bool, device: torch.device) -> nn.Parameter:
    """[] or, apart, [2] float32, of as many values or of one for both sides."""
    tensor = torch.tensor(values, dtype=torch.float32, device=device)
    return parameter(tensor.expand(SIDES) if apart else tensor.reshape(()))


def scale_for(scales: Tensor, x: Tensor) -> Tensor:
    """Scale of x [B, ...]: [], or by the side of each image [B, 1, ...]. Where the sides are not known, the larger one,
    which clips neither."""
    if not scales.ndim:
        return scales
    of = sides_of(x)
    return scales.amax() if of is None else scales[of].view(-1, *[1] * (x.ndim - 1))


def static_scale(scales: Tensor, x: Tensor, largest: float) -> Tensor:
    """The same for codes that reach `largest`."""
    scale = scale_for(scales, x)
    return (scale if largest == GRID else scale * (GRID / largest)).clamp(min=SMALLEST)  # measured for int8


def rounded(x: Tensor, scales: Tensor, form: type[PackedLayer] = PackedLayer) -> Tensor:
    """x [B, ...] as the codes of `form` have it, int8 by default, in its own type."""
    scale = static_scale(scales, x, form.largest)
    values = (x.float() / scale).clamp(-form.largest, form.largest)
    values = values.round() if form.codes == torch.int8 else values.to(form.codes).float()
    return (values * scale).to(x.dtype)


def packed_layers(network: nn.Module) -> dict[str, PackedLayer]:
    """By their published names."""
    return {name: layer for name, layer in published_modules(network) if isinstance(layer, PackedLayer)}


def stored_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers, each tensor once."""
    tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())

"""The methods that are applied: from the tensors that a file holds for a layer to what becomes of the layer.

A method is one function, registered with the parts (see spellings.py) that only it has."""

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..loading.finite import BYTES, numbers_fit
from .changes import INPUTS, ROWS, Between, Bias, Decomposed, Stretched
from .products import Dense, Hadamard, Kronecker, LowRank, Product
from .settings import Settings, number

Update = Product | Decomposed | Stretched | Between | Bias

# Parts that stand beside those of any method.
SHARED = frozenset({"alpha", "magnitude", "dora_scale", "bias of up", "diff_b", "bias"})
SHOWN = {"down": "lora_A.weight", "up": "lora_B.weight"}  # how a missing part is called


@dataclass(frozen=True)
class Held:
    """The tensors of one layer, by parts, and what is said of their scale."""

    file: str
    layer: str
    parts: Mapping[str, Tensor]
    settings: Settings

    def tensor(self, part: str) -> Tensor:
        """Raises MGTError unless it is there and its numbers are finite."""
        if part not in self.parts:
            raise MGTError(f"{self.file} holds {self.layer} without its {SHOWN.get(part, part)}")
        value = self.parts[part]
        value = value.float() if value.dtype in BYTES else value
        if not value.is_floating_point() or not value.numel():
            held = f"{value.dtype} {list(value.shape)}"
            raise MGTError(f"{self.file} holds {held} for {self.layer}; expected floating-point numbers, one or more")
        if not numbers_fit(value, torch.float32):
            raise MGTError(f"{self.file} holds values for {self.layer} that are not finite numbers")
        return value

    def vector(self, part: str) -> Tensor:
        return self.tensor(part).flatten()

    def matrix(self, part: str) -> Tensor:
        """[n, k], also of what is stored as a convolution."""
        value = self.tensor(part)
        if not 2 <= value.ndim <= 5:
            raise MGTError(f"{self.file} holds {part} of {list(value.shape)} for {self.layer}; expected a matrix")
        return value.flatten(1)

    def pair(self, first: str, second: str) -> tuple[Tensor, Tensor]:
        """Matrices [n, r] and [r, k]."""
        left, right = self.matrix(first), self.matrix(second)
        if left.shape[1] != right.shape[0]:
            raise self.misfit(f"{list(left.shape)} and {list(right.shape)}", "[n, r] and [r, k]")
        return left, right

    def kernel(self, part: str) -> tuple[int, ...]:
        return tuple(self.parts[part].shape[2:])

    def scale(self, rank: int | None) -> float:
        own = None
        if "alpha" in self.parts:
            try:
                own = number(self.parts["alpha"].item())
            except (TypeError, ValueError, RuntimeError):
                raise MGTError(f"{self.file} holds an alpha for {self.layer} that is no number below 1e30") from None
        return self.settings.scale(self.layer, rank, own)

    def misfit(self, held: str, expected: str) -> MGTError:
        return MGTError(f"{self.file} holds matrices of {held} for {self.layer}; expected {expected}")


@dataclass(frozen=True)
class Kind:
    name: str
    parts: Set[str]
    build: Callable[[Held], Update]


KINDS: list[Kind] = []


def kind(name: str, *parts: str) -> Callable:
    """Registers what makes an update of a layer that has any of `parts`."""

    def add(build: Callable[[Held], Update]) -> Callable[[Held], Update]:
        KINDS.append(Kind(name, frozenset(parts), build))
        return build

    return add


@kind("LoRA", "down", "up")
def lora(held: Held) -> LowRank:
    """Hu et al., arXiv 2106.09685, section 4.1: B A, by alpha / r."""
    down, up = low_rank(held, "down", "up")
    return LowRank(down, up, held.scale(down.shape[0]), held.kernel("down"))


def low_rank(held: Held, down_part: str, up_part: str) -> tuple[Tensor, Tensor]:
    """A [r, in] and B [out, r]."""
    for part in (down_part, up_part):
        if part not in held.parts:
            held.tensor(part)
    down, up = held.parts[down_part], held.parts[up_part]
    if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1] or set(up.shape[2:]) - {1}:
        raise held.misfit(f"{list(down.shape)} and {list(up.shape)}", "[r, in] and [out, r]")
    is_float = all(matrix.is_floating_point() for matrix in (down, up))
    if not is_float or not down.numel() or not up.numel():
        raise MGTError(
            f"{held.file} holds {down.dtype} and {up.dtype} of rank {down.shape[0]} for {held.layer}; expected "
            "floating-point numbers of rank 1 or more"
        )
    return held.matrix(down_part), held.matrix(up_part)


@kind("LoHa", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
def loha(held: Held) -> Hadamard:
    """Hyeon-Woo et al., arXiv 2108.06098, section 2.2: (A1 B1) o (A2 B2), by alpha / r."""
    first, second = held.pair("hada_w1_a", "hada_w1_b"), held.pair("hada_w2_a", "hada_w2_b")
    if first[0].shape[0] != second[0].shape[0] or first[1].shape[1] != second[1].shape[1]:
        sizes = " and ".join(f"{[a.shape[0], b.shape[1]]}" for a, b in (first, second))
        raise held.misfit(sizes, "two of one size")
    return Hadamard(first, second, held.scale(first[1].shape[0]))


@kind("LoKr", "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
def lokr(held: Held) -> Kronecker:
    """Yeh et al., arXiv 2309.14859, section 3.2: W1 (x) W2, by alpha / r where one of them is a product of rank r.
    Where both are, LyCORIS and ComfyUI take the second one's."""
    sides, rank = [], None
    for name in ("lokr_w1", "lokr_w2"):
        if name in held.parts:
            sides.append((held.matrix(name),))
        else:
            sides.append(held.pair(f"{name}_a", f"{name}_b"))
            rank = sides[-1][1].shape[0]
    kernel = held.kernel("lokr_w2") if "lokr_w2" in held.parts else ()
    return Kronecker(*sides, held.scale(rank), kernel)


@kind("GLoRA", "a1", "a2", "b1", "b2")
def glora(held: Held) -> Between:
    """Chavan et al., arXiv 2306.07967. LyCORIS called the matrices the other way round at first, which is told by the
    rank, the smaller size of both."""
    (out, rank), (inner, width) = held.matrix("b1").shape, held.matrix("b2").shape
    swapped = out == width and (rank != inner or out < rank)
    pairs = [low_rank(held, *(f"{name}{n}" for n in ((1, 2) if swapped else (2, 1)))) for name in "ab"]
    scale = held.scale(pairs[1][0].shape[0])
    before, product = (LowRank(down, up, scale) for down, up in pairs)
    if before.shape != (product.shape[1],) * 2:
        raise held.misfit(f"{list(before.shape)} and {list(product.shape)}", "[in, in] and [out, in]")
    return Between(before, product)


@kind("(IA)^3", "ia3_l")
def ia3(held: Held) -> Stretched:
    """Liu et al., arXiv 2205.05638, as PEFT stores it: [out, 1], which is for the bias too, or [1, in]."""
    value = held.tensor("ia3_l")
    if value.ndim < 2 or value.numel() not in value.shape[:2]:
        raise MGTError(f"{held.file} holds ia3_l of {list(value.shape)} for {held.layer}; expected [out, 1] or [1, in]")
    outputs = value.ndim == 2 and value.shape[1] == 1
    return Stretched(value.flatten(), ROWS if outputs else INPUTS, bias=outputs)


@kind("(IA)^3", "weight", "on_input")
def ia3_of_lycoris(held: Held) -> Stretched:
    """What is added to 1, and whether that is for inputs or outputs."""
    factors, where = held.vector("weight").float() + 1, held.parts["on_input"]
    if where.numel() != 1:
        raise MGTError(f"{held.file} holds on_input of {list(where.shape)} for {held.layer}; expected one number")
    return Stretched(factors, INPUTS if bool(where.item()) else ROWS)


@kind("whole difference", "diff")
def difference(held: Held) -> Dense:
    """The change of all weights, as LyCORIS and ComfyUI save it."""
    value = held.tensor("diff")
    return Dense(value.reshape(len(value) if value.ndim else 1, -1), 1.0, tuple(value.shape[2:]))


def decomposed(held: Held, product: Update) -> Decomposed:
    """With the magnitudes that a DoRA has: PEFT's of every output, LyCORIS' of what their shape says."""
    part = "magnitude" if "magnitude" in held.parts else "dora_scale"
    value, (rows, columns) = held.tensor(part), product.shape
    is_product = isinstance(product, Product)
    channels = columns // math.prod(product.kernel) if is_product else None
    inputs = part == "dora_scale" and value.ndim >= 2 and value.shape[0] == 1 and value.numel() == channels
    if not is_product or not (inputs or value.numel() == rows):
        raise MGTError(
            f"{held.file} holds {part} of {list(value.shape)} for {held.layer}; expected one for each of its {rows} "
            f"outputs, or, as [1, in], for each of its {columns} inputs"
        )
    return Decomposed(product, value.flatten().float(), INPUTS if inputs else ROWS)


def update_of(held: Held) -> Update | None:
    """What becomes of the layer, None for its bias alone. Raises MGTError for parts that do not make a whole."""
    present = held.parts.keys() - SHARED
    found = [entry for entry in KINDS if entry.parts & present]
    if len(found) > 1:
        raise MGTError(f"{held.file} holds {' and '.join(entry.name for entry in found)} at once for {held.layer}")
    marked = held.parts.keys() & {"magnitude", "dora_scale"}
    if marked and not found:
        raise MGTError(f"{held.file} holds magnitudes (lora_magnitude_vector) of {held.layer} and no LoRA of it")
    if not found and held.parts.keys() - {"alpha"}:
        return None
    update = found[0].build(held) if found else lora(held)
    return decomposed(held, update) if marked else update


def bias_of(held: Held, update: Update | None) -> Bias | None:
    """What becomes of the layer's bias."""
    found = [part for part in ("bias of up", "diff_b", "bias") if part in held.parts]
    if len(found) > 1:
        raise MGTError(f"{held.file} holds {len(found)} biases for {held.layer}; expected one")
    if not found:
        return None
    scale = update.scale if found[0] == "bias of up" and update else 1.0
    return Bias(held.vector(found[0]), scale, replaces=found[0] == "bias")

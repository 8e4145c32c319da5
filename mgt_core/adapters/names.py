"""What files call the layers of a network, and where this network has them.

Trainers put their own and their wrappers' names before a layer's, and some write underscores for dots. A name is
compared with those that the network has, written in the same way: no dot is guessed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from ..backbones.base import Backbone
from ..backbones.names import begins
from ..errors import MGTError, join_some
from .layers import is_linear

# Parts of a name that compilers, parallel training, checkpointing and PEFT add, wherever in it.
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer")
FLAT_WRAPPERS = tuple(f"{name}_" for name in WRAPPERS if name.startswith("_"))  # what no layer has within
# What stands before a layer's own name, with a dot or an underscore behind, several at once.
BEGINNINGS = (
    *("lora", "lycoris", "base_model", "model", "diffusion_model", "transformer", "unet", "prior_unet", "dit", "mmdit"),
    *("net", "network", "backbone", "uvit", "denoiser", "student", "pipe", "pipeline", *WRAPPERS),
)
# Before names of a text encoder's layers, or prompts; and in names of CLIP's, whatever stands before.
TEXT = ("lora_te", "text_encoder", "te.", "te1.", "te2.", "conditioner.", "bundle_emb.")
CLIP = "text_model"
READINGS = 16  # of one name


@dataclass(frozen=True)
class Place:
    """A layer, or rows of one. rows: of the output of a linear layer that is called, which an update stands beside;
    None for a module whose weight is read otherwise, or that is none: a changed copy takes its place."""

    path: str
    rows: slice | None = None

    def __str__(self) -> str:
        return self.path


class Places:
    """The layers of a network by every name that files have for them."""

    def __init__(self, network: Backbone):
        self.exact: dict[str, Place] = {}
        self.flat: dict[str, dict[str, Place]] = {}
        self.modules: dict[str, nn.Module] = {}
        for path, module in outermost(network):
            for name, place in named(network, path, module).items():
                self.modules[path] = module
                for published in [end for end in ends(name) if end == name or network.renamed(end) == name]:
                    self.exact.setdefault(published, place)
                    self.flat.setdefault(flattened(published), {})[published] = place

    def find(self, name: str) -> Place | None:
        """Raises MGTError where two layers are called so once their dots are underscores."""
        readings = readings_of(name)
        if found := next((self.exact[reading] for reading in readings if reading in self.exact), None):
            return found
        known: Mapping[str, Place] = next(
            (self.flat[flat] for reading in readings if (flat := flattened(reading)) in self.flat), {}
        )
        places = list(known.values())
        if any(place != places[0] for place in places):
            raise MGTError(
                f"{name} may stand for {join_some(known)} of this model, which are one name once dots are underscores; "
                "a file that writes the dots tells them apart"
            )
        return places[0] if places else None


def outermost(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module by its path, and nothing of what a linear layer is made of."""
    yield path, module
    for name, child in () if is_linear(module) else module.named_children():
        yield from outermost(child, f"{path}.{name}" if path else name)


def named(network: Backbone, path: str, module: nn.Module) -> dict[str, Place]:
    """Places in one module by their names; none where nothing of it can be changed."""
    if is_linear(module) and not begins(path, network.uncalled):
        names, holder = getattr(module, "names", ()), path.rpartition(".")[0]
        size = module.out_features // len(names or "1")
        parts = {
            f"{holder}.{name}" if holder else name: Place(path, slice(place * size, (place + 1) * size))
            for place, name in enumerate(names)
        }
        return {path: Place(path, slice(0, module.out_features)), **parts}
    weight = getattr(module, "weight", None)
    is_plain = isinstance(weight, nn.Parameter) and weight.is_floating_point() and not hasattr(module, "packed")
    return {path: Place(path)} if is_plain else {}


def ends(name: str) -> list[str]:
    """`name`, and what follows each of its dots."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def flattened(name: str) -> str:
    """With underscores for dots."""
    flat = name.replace(".", "_")
    for wrapper in FLAT_WRAPPERS:
        flat = flat.replace(wrapper, "")
    return flat.strip("_")


def unwrapped(name: str) -> str:
    """Without what wrappers add, wherever in it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def readings_of(name: str) -> list[str]:
    """`name`, and what is left of it without wrappers and beginnings, the longest first."""
    found = list(dict.fromkeys(filter(None, (name, unwrapped(name)))))
    for reading in found:
        for beginning in BEGINNINGS:
            rest = reading.removeprefix(beginning)
            if rest != reading and rest[:1] in (".", "_") and rest[1:] and rest[1:] not in found:
                found.append(rest[1:])
        if len(found) >= READINGS:
            break
    return found


def is_of_text(name: str) -> bool:
    """Whether a tensor belongs to a text encoder."""
    return CLIP in name or any(reading.startswith(TEXT) for reading in readings_of(name))

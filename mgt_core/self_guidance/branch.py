"""Self-Guidance (arXiv 2410.13136): logits steered away from those of a second pass through the same network.

The second pass sees a blank canvas and, through a small trained branch, what the first pass ended with: the
branch weighs the last hidden states h by their likeness to an anchor a, and sends them down the network
(top-down attention, TOAST, arXiv 2305.15542):

    x = (clamp(cos(h, a), 0, 1) h) T
    for l = L-1 ... 0:  x = P_l x,  t_l = Q_l x        second pass: value_l(y) + value_l(t_l)

It was trained to restore corrupted tokens, so its logits l_H are those of the meaning with the detail smoothed
away, and what the first pass knows beyond them is amplified:  l = l_H + (1 + s)(l - l_H) = l + s (l - l_H).

With classifier-free guidance the two terms add up, both from the same first pass, and the branch follows the
positive condition alone: l = l_u + w (l_c - l_u) + s (l_c - l_H). It costs one more pass a step.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import MutableSequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..backbones.hooks import Patches
from ..backbones.meissonic.network import MeissonicTransformer
from ..backbones.openmuse import BRANCH as TENSORS
from ..backbones.openmuse import OpenMuseTransformer
from ..errors import MGTError, finite_number
from ..interval import check_interval, in_interval
from ..loading.layouts import find_bundle, find_parts, remembered
from ..loading.materialize import materialize
from ..loading.weights import index_weights

FILE = "self_guidance.safetensors"  # of a bundle
FACTOR = 16  # vectors that make up a class anchor ("tg_factor")


class Decoder(nn.Module):
    """linear: P_l, on the way down; linear2: Q_l, into the layer."""

    def __init__(self, width: int):
        super().__init__()
        self.linear, self.linear2 = (nn.Linear(width, width, bias=False) for _ in range(2))


class ClassAnchor(nn.Module):
    """An anchor for every class: FACTOR vectors shared by all, FACTOR of its own, weighted and mixed."""

    def __init__(self, width: int, classes: int, factor: int = FACTOR):
        super().__init__()
        self.mlp_p = nn.Embedding(1, width * factor)
        self.mlp_c = nn.Embedding(classes, width * factor)
        self.mlp_f = nn.Linear(factor, 1, bias=False)
        self.mlp_t = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, labels: Tensor) -> Tensor:
        """[B] -> [B, C]."""
        parts = self.mlp_p.weight + self.mlp_c(labels)
        return self.mlp_t(self.layer_norm(self.mlp_f(parts.unflatten(-1, (-1, self.mlp_f.in_features)))[..., 0]))


class PooledAnchor(nn.Module):
    """An anchor for every prompt, from the pooled text as it enters the network's modulation."""

    def __init__(self, width: int):
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.mlp_t = nn.Linear(width, width)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, C] -> [B, C]."""
        return self.mlp_t(self.layer_norm(pooled))


class Branch(nn.Module, ABC):
    """The trained part: anchor, T (`top_down_transform`) and the decoders, by their published names.

    S stands for what the network's blocks see of the image. A subclass says where the anchor comes from.
    """

    backbone: ClassVar[type[Backbone]]
    cls_anchor_gen: nn.Module

    def __init__(self, layers: int, width: int):
        super().__init__()
        self.top_down_transform = nn.Parameter(torch.eye(width))
        self.decoders = nn.ModuleList(Decoder(width) for _ in range(layers))

    @classmethod
    @abstractmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "Branch":
        """A fresh branch of the network's sizes."""

    @abstractmethod
    def anchor(self, network: Backbone, prepared: Any) -> Tensor:
        """[B, C] for what the network was prepared with."""

    def blank(self, network: Backbone, prepared: Any) -> Any:
        """`prepared` for the second pass."""
        return prepared

    def training_logits(self, network: Backbone, features: Tensor) -> Tensor:
        """[..., C] -> logits over all that the loss counts with."""
        return network.head(features)

    def top_down(self, hidden: Tensor, anchor: Tensor) -> list[Tensor]:
        """t_l of every layer, [B, S, C] each. hidden: [B, S, C]; anchor: [B, C]."""
        likeness = F.cosine_similarity(hidden, anchor[:, None], dim=-1, eps=1e-12)
        x, down = (hidden * likeness.clamp(0, 1)[..., None]) @ self.top_down_transform, []
        for decoder in reversed(self.decoders):
            x = decoder.linear(x)
            down.append(decoder.linear2(x))
        return down[::-1]

    def aside(
        self,
        network: Backbone,
        hidden: Tensor,
        tokens: Tensor,
        timestep: Tensor,
        prepared: Any,
        taps: MutableSequence[Tensor] | None = None,
    ) -> Tensor:
        """Features of the second pass [B, h, w, C], from the last hidden states [B, S, C] of the first."""
        down = self.top_down(hidden, self.anchor(network, prepared).to(hidden.dtype))
        blank = torch.full_like(tokens, network.mask_id)
        return network.features(blank, timestep, self.blank(network, prepared), Patches(top_down=down, taps=taps))

    def check(self, network: Backbone) -> None:
        """Raises MGTError where this branch is not one for `network`."""
        with torch.device("meta"):
            fresh = kind_for(network).for_network(network, self.factor)
        wanted = {n: list(v.shape) for n, v in fresh.state_dict().items()}
        held = {n: list(v.shape) for n, v in self.state_dict().items()}
        if wanted != held:
            wrong = sorted(n for n in wanted.keys() | held.keys() if wanted.get(n) != held.get(n))
            raise MGTError(
                f"the Self-Guidance branch was trained for another model: it has {wrong[0]} of "
                f"{held.get(wrong[0], 'no')} where this model takes {wanted.get(wrong[0], 'none')}"
            )

    @property
    def factor(self) -> int:
        return FACTOR


class ClassBranch(Branch):
    """As published, for the open-muse MaskGIT: the class token is part of the sequence, and blank too in the
    second pass."""

    backbone = OpenMuseTransformer

    def __init__(self, layers: int, width: int, classes: int, factor: int = FACTOR):
        super().__init__(layers, width)
        self.cls_anchor_gen = ClassAnchor(width, classes, factor)

    @classmethod
    def for_network(cls, network: OpenMuseTransformer, factor: int = FACTOR) -> "ClassBranch":
        config = network.config
        return cls(config.num_hidden_layers, config.hidden_size, config.num_classes, factor)

    @property
    def factor(self) -> int:
        return self.cls_anchor_gen.mlp_f.in_features

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.class_ids[:, 0] - network.codebook_size)

    def blank(self, network, prepared):
        return replace(prepared, class_ids=torch.full_like(prepared.class_ids, network.mask_id))

    def training_logits(self, network, features):
        return network.mlm_layer(features)  # classes and the mask token too, as published


class PooledBranch(Branch):
    """For Meissonic, which nobody has published. The text stays in the second pass: only the image is blank, and
    only the image's values are added to, in joint and single blocks alike. The anchor comes from the pooled text
    and the micro-conditions."""

    backbone = MeissonicTransformer

    def __init__(self, layers: int, width: int):
        super().__init__(layers, width)
        self.cls_anchor_gen = PooledAnchor(width)

    @classmethod
    def for_network(cls, network: MeissonicTransformer, factor: int = FACTOR) -> "PooledBranch":
        config = network.config
        return cls(config.num_layers + config.num_single_layers, config.width)

    def anchor(self, network, prepared):
        return self.cls_anchor_gen(prepared.pooled)


BRANCHES: tuple[type[Branch], ...] = (ClassBranch, PooledBranch)


def kind_for(network: Backbone) -> type[Branch]:
    """Raises MGTError for a network that no branch can be attached to."""
    for kind in BRANCHES:
        if isinstance(network, kind.backbone):
            return kind
    raise MGTError(
        "Self-Guidance needs a model whose attention its branch can reach into: "
        f"{' or '.join(kind.backbone.__name__ for kind in BRANCHES)}, and this one is {type(network).__name__}"
    )


def fresh_branch(network: Backbone, seed: int = 0) -> Branch:
    """An untrained branch, on the CPU: P_l = 1 and Q_l = 0, so that nothing comes down and l_H is what the network
    makes of the blank canvas alone. With it Self-Guidance amplifies what the tokens chosen so far say."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed every GPU
        branch = kind_for(network).for_network(network)
    for decoder in branch.decoders:
        nn.init.eye_(decoder.linear.weight)
        nn.init.zeros_(decoder.linear2.weight)
    return branch


@dataclass(frozen=True)
class SelfGuidance:
    """Settings. branch: trained for the model. scale: s (0 changes nothing; 1 as released). start, end: share of
    the run in which it acts, as for modifiers; other steps cost no more than without it."""

    branch: Branch
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        if not isinstance(self.branch, Branch):
            raise MGTError(f"the Self-Guidance branch is {type(self.branch).__name__}; expected one that was loaded")
        finite_number("Self-Guidance scale", self.scale, 0, 100)
        check_interval("Self-Guidance", self.start, self.end)

    def __repr__(self) -> str:
        return f"SelfGuidance(scale={self.scale}, start={self.start}, end={self.end})"

    def acts(self, index: int, total: int) -> bool:
        return self.scale != 0 and in_interval(self.start, self.end, index, total)

    def begin(self, network: Backbone) -> Branch:
        """The branch where the network computes, in its number format."""
        parameter = next(network.parameters())
        return copy.deepcopy(self.branch).to(parameter.device, parameter.dtype)


def load_branch(source: str | Path, network: Backbone) -> Branch:
    """The branch for `network` from a weight file; from a transformer's folder; or from a bundle (what
    `mgt_core.load` takes): its FILE, else the weights of its transformer, where UnlockMGM's are.

    Raises MGTError when there is none, or it is for another network."""
    place = branch_place(source)
    stored = {name: entry for name, entry in index_weights(place).items() if name.startswith(TENSORS)}
    if not stored:
        raise MGTError(
            f"{place} holds no Self-Guidance branch (cls_anchor_gen, decoders, top_down_transform); "
            "train one with python -m mgt_core train-guidance"
        )
    mix = stored.get("cls_anchor_gen.mlp_f.weight")
    factor = mix.shape[-1] if mix is not None and mix.shape else FACTOR
    build = partial(kind_for(network).for_network, network, factor)
    return materialize(build, stored, place, torch.float32, torch.device("cpu"))


def branch_place(source: str | Path) -> Path:
    """File or folder of weights that would hold the branch of `source`."""
    path = find_bundle(source)
    if path.is_file() or (path / "config.json").is_file():
        return path
    return path / FILE if (path / FILE).is_file() else find_parts(path, remembered)[0].path

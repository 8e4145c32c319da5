"""The network in training: MAGNeT by its formulas (Ziv et al. 2024), under the published names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codec import BOOKS, CODES
from .text import WIDTH as TEXT_WIDTH

SIZES = {"dim": 64, "num_heads": 4, "num_layers": 3, "hidden_scale": 2}
SPAN, CONTEXT = 3, 5  # frames that are masked together; frames that a later book sees to each side
MASK_ID = CODES
FAR = -1e9  # what is added where nothing is to be attended to; may be multiplied by 0, unlike -inf


class Attention(nn.Module):
    """Rows of `in_proj_weight` are those of queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width).normal_(std=width**-0.5))
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, seen: Tensor, bias: Tensor) -> Tensor:
        """x [B, T, D], what it attends to [B, L, D], bias [B or 1, 1, T or 1, L] -> [B, T, D]."""
        width = x.shape[-1]
        query = F.linear(x, self.in_proj_weight[:width])
        key, value = F.linear(seen, self.in_proj_weight[width:]).chunk(2, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        scores = query @ key.mT * query.shape[-1] ** -0.5 + bias
        return self.out_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn, self.cross_attention = Attention(width, heads), Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.norm1, self.norm_cross, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, text: Tensor, bias: Tensor, beyond: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, bias)
        x = x + self.cross_attention(self.norm_cross(x), text, beyond)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class SoundNetwork(nn.Module):
    """state_dict() has the published names."""

    def __init__(self) -> None:
        super().__init__()
        width, heads = SIZES["dim"], SIZES["num_heads"]
        conditioner = nn.ModuleDict({"output_proj": nn.Linear(TEXT_WIDTH, width)})
        self.condition_provider = nn.ModuleDict({"conditioners": nn.ModuleDict({"description": conditioner})})
        self.emb = nn.ModuleList(nn.Embedding(CODES + 1, width) for _ in range(BOOKS))
        layers = [Layer(width, heads, width * SIZES["hidden_scale"]) for _ in range(SIZES["num_layers"])]
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.out_norm = nn.LayerNorm(width)
        self.linears = nn.ModuleList(nn.Linear(width, CODES, bias=False) for _ in range(BOOKS))
        for table in self.emb:
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, tokens: Tensor, hidden: Tensor, shown: Tensor, stages: Tensor) -> Tensor:
        """tokens [B, K, T], hidden [B, L, D_text], shown [B, L] (1 where there is text), stages [B] (the book that is
        asked for) -> logits of that book [B, T, C].

        A shorter text is attended to as if it were alone; of an empty one all rows are zero, and add nothing.
        """
        frames = tokens.shape[-1]
        x = sum(table(tokens[:, book]) for book, table in enumerate(self.emb))
        x = x + positions(frames, x.shape[-1])
        text = self.condition_provider["conditioners"]["description"]["output_proj"](hidden) * shown[..., None]
        bias = near_only(frames) * (stages > 0)[:, None, None, None]
        beyond = (1 - shown)[:, None, None] * FAR
        for layer in self.transformer["layers"]:
            x = layer(x, text, bias, beyond)
        heads = torch.stack([head.weight for head in self.linears])[stages]  # [B, C, D]
        return self.out_norm(x) @ heads.mT


def positions(frames: int, width: int) -> Tensor:
    """-> [T, D], cosines first."""
    half = width // 2
    rates = 10000 ** (-torch.arange(half) / (half - 1))
    angles = torch.arange(frames)[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def near_only(frames: int) -> Tensor:
    """-> [T, T], 0 up to CONTEXT frames apart, else FAR."""
    places = torch.arange(frames)
    return ((places[:, None] - places).abs() > CONTEXT) * FAR

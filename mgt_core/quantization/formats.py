"""The formats of packed weights, and what files say of a layer that is in one of them."""

import json
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import MGTError
from ..registry import Registry
from .embedding import PackedEmbedding
from .layers import ACTIVATIONS, LayerSettings, PackedLayer
from .packing import (
    FLOAT8,
    FLOAT8_MAX,
    assign,
    decode_int4,
    grouped,
    pack_nibbles,
    quantize_float8,
    quantize_int4,
    quantize_int8,
)

FORMATS: Registry = Registry("weight format")


@FORMATS.register("asym_w4a8_int8")
class Int4Layer(PackedLayer):
    """4-bit weights (see packing), about 4.5 bits each with groups of 16."""

    name = "asym_w4a8_int8"

    @staticmethod
    def store(weight, settings):
        packed = quantize_int4(weight, settings.group, settings.rotation)
        return {
            "weight": packed.codes,
            "weight_s_rel": packed.relative,
            "weight_s_channel": packed.channel,
            "weight_codebook": packed.levels,
        }

    @staticmethod
    def stored(rows, width, settings):
        groups = -(-width // settings.group)
        return {
            "weight": ((rows, groups * settings.group // 2), torch.int8),
            "weight_s_rel": ((rows, groups), FLOAT8),
            "weight_s_channel": ((rows,), torch.float32),
            "weight_codebook": ((16,), torch.float32),
        }

    def rows(self, start, stop):
        part = slice(start, stop)
        values = decode_int4(self.weight[part], self.weight_s_rel[part], self.weight_codebook, self.in_features)
        return values, self.weight_s_channel[part, None]

    def codes_of(self, weight: Tensor) -> Tensor:
        """The codes of another weight [N, K] on this layer's grid."""
        values = grouped(weight, self.settings.group, self.settings.rotation)
        return pack_nibbles(assign(values, self.weight_s_rel, self.weight_s_channel, self.weight_codebook))

    def fused(self, kernels, x):
        group, rotation = self.settings.group, self.settings.rotation
        # What the kernels ask for: whole groups of a supported size, and a rotation.
        if rotation == 1 or self.in_features % group or self.in_features % 16 or (16 % group and group % 16):
            return None
        return kernels.w4a8_int8_linear(
            x,
            self.weight,
            self.weight_s_rel,
            self.weight_s_channel,
            codebook=self.weight_codebook,
            bias=None if self.bias is None else self.bias.to(x.dtype),
            group_size=group,
            convrot_groupsize=rotation,
            out_dtype=x.dtype,
        )

    def config(self):
        return {
            **super().config(),
            "group_size": self.settings.group,
            "convrot_groupsize": self.settings.rotation,
        }


@FORMATS.register("int8_tensorwise")
class Int8Layer(PackedLayer):
    """8-bit weights with a scale a row."""

    name = "int8_tensorwise"

    @staticmethod
    def store(weight, settings):
        codes, scale = quantize_int8(weight, settings.rotation)
        return {"weight": codes, "weight_scale": scale}

    @staticmethod
    def stored(rows, width, settings):
        return {"weight": ((rows, width), torch.int8), "weight_scale": ((rows,), torch.float32)}

    def rows(self, start, stop):
        return self.weight[start:stop], self.weight_scale[start:stop, None]

    def fused(self, kernels, x):
        return kernels.int8_linear(
            x,
            self.weight,
            self.weight_scale,
            bias=None if self.bias is None else self.bias.to(x.dtype),
            out_dtype=x.dtype,
            convrot=self.settings.rotation > 1,
            convrot_groupsize=max(self.settings.rotation, 4),
        )

    def config(self):
        turned = self.settings.rotation > 1
        rotation = {"convrot": True, "convrot_groupsize": self.settings.rotation} if turned else {}
        return {**super().config(), **rotation}


@FORMATS.register("float8_e4m3fn")
class Float8Layer(PackedLayer):
    """8-bit floating-point weights with one scale a matrix."""

    name = "float8_e4m3fn"
    codes, largest = FLOAT8, FLOAT8_MAX

    @staticmethod
    def store(weight, settings):
        codes, scale = quantize_float8(weight)
        return {"weight": codes, "weight_scale": scale}

    @staticmethod
    def stored(rows, width, settings):
        return {"weight": ((rows, width), FLOAT8), "weight_scale": ((), torch.float32)}

    def rows(self, start, stop):
        return self.weight[start:stop], self.weight_scale.reshape(1, 1)


def config_tensor(layer: PackedLayer | PackedEmbedding) -> Tensor:
    """The `comfy_quant` entry of a layer: its config as JSON bytes."""
    return torch.tensor(list(json.dumps(layer.config()).encode()), dtype=torch.uint8)


def empty_from_config(source: nn.Module, values: Any, where: str) -> PackedLayer | PackedEmbedding:
    """The layer that a `comfy_quant` entry describes, in the shape of `source`. Raises MGTError for one that
    says anything else than this pack or ComfyUI writes."""
    if isinstance(source, nn.Embedding) and values == {"format": PackedEmbedding.name}:
        return PackedEmbedding.empty(source)
    if not isinstance(source, (nn.Linear, nn.Conv2d)):
        raise MGTError(f"{where} is marked as quantized, but the network has no linear layer or convolution there")
    kind = values.get("format") if isinstance(values, dict) else None
    if kind not in FORMATS:
        raise MGTError(f"{where} is quantized as {kind!r}; this pack reads {', '.join(FORMATS)}")
    activations = values.get("activations", "dynamic" if "int8" in kind else "float")
    group, width = values.get("group_size", 16), source.weight[0].numel()
    rotation = values.get("convrot_groupsize", 256 if kind == "asym_w4a8_int8" else 1) if kind != "float8_e4m3fn" else 1
    turns = rotation == 1 or (rotation in (4, 16, 64, 256) and width % rotation == 0)
    apart, outputs = values.get("apart", False), values.get("outputs", False)
    known = activations in ACTIVATIONS and isinstance(apart, bool) and isinstance(outputs, bool)
    # Only static inputs have scales apart, or outputs that are rounded.
    fitting = known and (activations == "static" or not (apart or outputs))
    if not fitting or not isinstance(group, int) or group < 2 or group % 2 or not turns:
        raise MGTError(f"{where} is quantized with settings this pack cannot read: {values}")
    return FORMATS.get(kind).empty(source, LayerSettings(group, rotation, activations, apart, outputs))

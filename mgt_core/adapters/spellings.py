"""What the tensors of LoRA files are called: the layer, and which part of which method."""

import re
from typing import NamedTuple

# (name of the part, what stands behind it) -> part. PEFT may put the name of the adapter between the two.
SPELLINGS = {
    **dict.fromkeys([("lora_A", "weight"), ("lora_A", ""), ("lora_down", "weight"), ("lora.down", "weight")], "down"),
    **dict.fromkeys([("lora_B", "weight"), ("lora_B", ""), ("lora_up", "weight"), ("lora.up", "weight")], "up"),
    ("lora_linear_layer.down", "weight"): "down",
    ("lora_linear_layer.up", "weight"): "up",
    **dict.fromkeys([("lora_B", "bias"), ("lora_up", "bias")], "bias of up"),
    ("alpha", ""): "alpha",
    **dict.fromkeys([("lora_magnitude_vector", "weight"), ("lora_magnitude_vector", "")], "magnitude"),
    ("dora_scale", ""): "dora_scale",
    **{(name, ""): name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{(name, ""): name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")},
    **{(name, "weight"): name for name in ("a1", "a2", "b1", "b2")},
    ("ia3_l", ""): "ia3_l",
    ("on_input", ""): "on_input",
    **dict.fromkeys([("diff", ""), ("w_norm", "")], "diff"),
    **dict.fromkeys([("diff_b", ""), ("b_norm", "")], "diff_b"),
}
BASE = ".base_layer"  # where PEFT keeps the layer itself
OWN = ("weight", "bias")  # of the layer itself: those of (IA)^3 in LyCORIS, and the biases that PEFT trains beside

# How a part of a name begins that belongs to what is not applied -> what that is.
REFUSED = {
    "oft_": "an OFT",
    "boft_": "a BOFT",
    "rescale": "an OFT",
    "lora_mid": "a LoRA of convolutions in Tucker's decomposition",
    "hada_t": "a LoHa of convolutions in Tucker's decomposition",
    "lokr_t": "a LoKr of convolutions in Tucker's decomposition",
    "bm": "a GLoRA of convolutions in Tucker's decomposition",
    "lora_embedding_": "a LoRA of an embedding",
    "lora_E": "an AdaLoRA",
    "ranknum": "an AdaLoRA",
    "vera_": "a VeRA",
    "vblora_": "a VB-LoRA",
    "randlora_": "a RandLoRA",
    "fourierft_": "a FourierFT",
    "waveft_": "a WaveFT",
    "hra_": "an HRA",
    "hira_": "a HiRA",
    "shira_": "a SHiRA",
    "road_": "a RoAd",
    "c3a_": "a C3A",
    "miss_": "a MiSS",
    "bone_": "a Bone",
    "delora_": "a DeLoRA",
    "gralora_": "a GraLoRA",
    "glora_": "a GLoRA of PEFT",
    "xlora_": "an X-LoRA",
    "ln_tuning_": "a tuning of norms",
    "trainable_tokens": "a tuning of single tokens",
    "modules_to_save": "a LoRA with whole layers beside it",
    "set_weight": "a replacement of whole layers",
    "reshape_weight": "a LoRA that changes the sizes of layers",
    "lora_down_": "a LoRA that is packed",
}
# What diffusers called the parts while they were attention processors: to_q_lora.down beside to_q.
PROCESSOR = re.compile(r"(?:\.processor)?\.(?P<leaf>[^.]+)_lora\.(?P<side>down|up)\.weight")
LEAVES = {"to_out": "to_out.0"}  # the layer in a list that such a part is for
LONGEST = 1000  # characters of a tensor's name; real ones have about 100


class Spelled(NamedTuple):
    layer: str
    part: str


def spelled(name: str) -> Spelled | None:
    """None for what is no part of a method that is applied."""
    if len(name) > LONGEST:
        return None
    if found := PROCESSOR.search(name):
        leaf = found["leaf"]
        name = f"{name[: found.start()]}.{LEAVES.get(leaf, leaf)}.lora_{found['side']}.weight"
    pieces = name.split(".")
    behind = pieces.pop() if pieces[-1] in OWN else ""
    for start, stop in ((-1, None), (-2, None), (-2, -1), (-3, -1)):
        part, layer = SPELLINGS.get((".".join(pieces[start:stop]), behind)), ".".join(pieces[:start])
        if part and layer:
            return Spelled(layer, part)
    if not behind or not pieces:
        return None
    return Spelled(".".join(pieces).removesuffix(BASE), behind)


def refused(name: str) -> str | None:
    """What a tensor of this name belongs to, where that is known and not applied."""
    pieces = name.split(".")[1:]  # the first is no part of a method
    return next((what for start, what in REFUSED.items() if any(piece.startswith(start) for piece in pieces)), None)

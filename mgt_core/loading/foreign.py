"""What weights are that are none of this pack's, told from the names of their tensors and from their configs alone.

A kind that people have is one line of a table: what its files call their tensors, what it is, and the folder below
ComfyUI's models that it belongs in."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from ..errors import MGTError, join_some, shown_text
from .disk import MAX_JSON, is_dir, read_json, read_whole
from .downloads import ADVICE, WHAT, unfinished
from .endings import ARCHIVES, GGUF, UNFINISHED
from .mistaken import WAIT, in_place_of
from .shards import told_of_shard
from .wrappers import seen_through

ARTICLES = ("a ", "an ")


class Foreign(NamedTuple):
    """what: the kind, or the state of a file that cannot be read. advice: where it belongs, or what to do. readable:
    False for the latter."""

    what: str
    advice: str
    readable: bool = True

    @property
    def words(self) -> str:
        """Without an article."""
        return self.what.removeprefix(next(filter(self.what.startswith, ARTICLES), ""))

    @property
    def short(self) -> str:
        """For a list, behind the name."""
        return f"not an MGT: {self.words}" if self.readable else self.words


class Signature(NamedTuple):
    """beginnings: of names, one of which some tensor has; parts: texts, one of which is in some name."""

    what: str
    folder: str
    beginnings: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


# What trainers call the tensors of LoRAs and their kin, those of methods that are not applied included.
LORA = (
    ".lora_",
    ".lora.",
    "_lora.down.",
    "_lora.up.",
    ".dora_scale",
    ".hada_",
    ".lokr_",
    ".ia3_l",
    ".on_input",
    ".oft_",
)
LORA += (".boft_", ".vera_lambda", ".glora_", ".diff_b", ".w_norm")
# The first that fits counts: files of several parts stand before their parts.
SIGNATURES = (
    Signature("a LoRA", "loras", ("lora_", "lycoris_"), LORA),
    Signature("a branch of Self-Guidance", "mgt/self_guidance", ("cls_anchor_gen.",)),
    Signature("a ControlNet", "controlnet", ("control_model.", "controlnet_", "input_hint_block.")),
    Signature("Stable Diffusion XL", "checkpoints", ("conditioner.embedders.",)),
    Signature("Stable Diffusion 2", "checkpoints", ("cond_stage_model.model.",)),
    Signature("Stable Diffusion 1", "checkpoints", ("cond_stage_model.",)),
    Signature("Stable Diffusion 3", "checkpoints", ("model.diffusion_model.joint_blocks.",)),
    Signature("Stable Diffusion 3", "diffusion_models", ("joint_blocks.",)),
    Signature("Flux", "checkpoints", ("model.diffusion_model.double_blocks.",)),
    Signature("HunyuanVideo", "diffusion_models", ("txt_in.individual_token_refiner.",)),
    Signature("Flux", "diffusion_models", ("double_blocks.",)),
    Signature("AuraFlow", "diffusion_models", ("double_layers.",)),
    Signature("Wan", "diffusion_models", ("blocks.0.cross_attn.norm_k.",)),
    Signature("a checkpoint of a diffusion model", "checkpoints", ("model.diffusion_model.",)),
    Signature("the U-Net of a diffusion model", "diffusion_models", ("input_blocks.", "time_embedding.linear_1.")),
    Signature("a T5 text encoder", "text_encoders", ("encoder.block.0.layer.0.SelfAttention.",)),
    Signature("an image encoder of CLIP", "clip_vision", ("vision_model.embeddings.", "visual.transformer.")),
    Signature("a text encoder of another kind", "text_encoders", ("model.layers.0.self_attn.", "text_model.")),
    Signature("a VAE", "vae", ("encoder.down.0.", "encoder.down_blocks.0.", "first_stage_model.", "encoder.conv_in.")),
    Signature("an upscaler", "upscale_models", ("body.0.rdb1.", "model.1.sub.0.", "RRDB_trunk.")),
    Signature("a textual inversion", "embeddings", ("emb_params", "clip_l", "clip_g", "string_to_param")),
)  # fmt: skip

# How the name of a diffusers pipeline begins -> what it is.
PIPELINES = {
    "StableDiffusionXL": "Stable Diffusion XL",
    "StableDiffusion3": "Stable Diffusion 3",
    "StableDiffusion": "Stable Diffusion",
    "Flux": "Flux",
}
LONGEST_CLASS = 60  # characters of a class that a config names
MASKED = "transformer_lm_magnet"  # what audiocraft calls MAGNeT's network in a config
LINE = "\n"  # between names, none of which begins a line within it but to be taken for two


def by_config(config: dict) -> Foreign | None:
    """What a file of audiocraft is by its config; None for MAGNeT, and for what has no such config."""
    named = config.get("lm_model", MASKED)
    if named == MASKED:
        return None
    if named == "transformer_lm":
        return Foreign(
            "a model of sound that makes its tokens one after another, as MusicGen and AudioGen do",
            "no node of this pack loads it; MAGNeT fills in masked ones",
        )
    return Foreign(
        f"a model of sound of another kind ({shown_text(str(named), LONGEST_CLASS)})", "no node of this pack loads it"
    )


def by_names(names: Collection[str], config: dict) -> Foreign:
    """What weights of no kind that this pack knows are."""
    if told := by_config(config):
        return told
    # One text, since a file has thousands of names, and lists tell of hundreds of files.
    seen = LINE + LINE.join({shorter for name in names for shorter in seen_through(name)})
    for what, folder, beginnings, parts in SIGNATURES:
        if any(LINE + beginning in seen for beginning in beginnings) or any(part in seen for part in parts):
            return Foreign(what, belongs(folder))
    if named := config.get("_class_name") or config.get("model_type"):
        return Foreign(
            f"a network of another kind ({shown_text(str(named), LONGEST_CLASS)})", "no node of this pack loads it"
        )
    held = f"its first tensors are {shown_text(join_some(sorted(names)), 120)}" if names else "it holds no tensors"
    return Foreign("a file of unknown weights", held)


def belongs(folder: str) -> str:
    return f"it belongs in models/{folder}"


def by_pipeline(folder: Path) -> Foreign:
    """What a folder of diffusers' layout is that holds a diffusion model."""
    try:
        named = str(read_json(folder / "model_index.json").get("_class_name"))
    except MGTError:
        named = ""
    known = (what for beginning, what in PIPELINES.items() if named.startswith(beginning))
    other = f"a diffusion model ({shown_text(named, LONGEST_CLASS)})" if named else "a diffusion model"
    return Foreign(next(known, other), belongs("diffusers"))


def by_ending(path: Path) -> Foreign | None:
    """What a file is by its name alone, None where that says nothing."""
    if path.suffix in GGUF:
        return Foreign(
            "a GGUF file", "no model of this pack comes in that format; it belongs in models/diffusion_models"
        )
    if path.name.endswith(UNFINISHED):
        return Foreign(WHAT, WAIT, readable=False)
    if path.suffix in ARCHIVES:
        return Foreign("a packed archive", "unpack it into a folder of its own", readable=False)
    return None


def unreadable(path: Path, problem: Exception) -> Foreign:
    """What is wrong with a file or folder that could not be read."""
    said = str(problem).removeprefix(str(path)).strip()
    if is_dir(path):
        if unfinished(path):
            return Foreign(WHAT, ADVICE, readable=False)
        return Foreign("a folder without readable weights", said, readable=False)
    told = told_of_shard(path) or in_place_of(path)
    if told is None and "is truncated" in said:
        told = "a file that is cut off", said.removeprefix("is truncated: ")
    return Foreign(*(told or ("no readable file of tensors", said)), readable=False)


def is_diffusion(folder: Path) -> bool:
    """Whether the index names a continuous autoencoder, as pipelines of diffusion models do."""
    try:
        return b"Autoencoder" in read_whole(folder / "model_index.json", MAX_JSON)
    except MGTError:
        return False

"""CLIP's text side as files hold it: alone, or with the side for pictures beside it (a whole CLIPModel)."""

from typing import Any, ClassVar

from ..loading.building import like, told_of
from ..loading.published import Published
from ..registry import TEXT_ENCODERS

Shapes = dict[str, tuple[int, ...]]

LAION = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # a repository

PREFIX = "text_model."
BARE = (
    "embeddings.",
    "encoder.",
    "final_layer_norm.",
)  # as CLIPTextModel of transformers 5 has names, without the prefix
TOKENS = "text_model.embeddings.token_embedding.weight"
POSITIONS = "text_model.embeddings.position_embedding.weight"
INSIDE = "text_model.encoder.layers.{}.mlp.fc1.weight"
PROJECTION = "text_projection.weight"
PICTURES = ("vision_model.", "visual_projection.", "logit_scale")  # beginnings of names that are not of the text side
HEAD = 64  # width of an attention head in every published CLIP text encoder
SMALL = 768  # widths up to this are OpenAI's encoders, which compute with quick_gelu; OpenCLIP's H and bigG with gelu
# What its config says that the network goes by, and what kind of value each is.
EXAMPLES = {
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"), 1),
    **{"projection_dim": 1, "max_position_embeddings": 1, "hidden_act": "gelu", "eos_token_id": 1},
    **dict.fromkeys(("bos_token_id", "pad_token_id")),
    **dict.fromkeys(("layer_norm_eps", "initializer_range", "initializer_factor"), 1.0),
}


@TEXT_ENCODERS.register("clip")
class CLIPText(Published):
    """transformers' CLIPTextModelWithProjection."""

    needs_config = False
    has_words: ClassVar[bool] = False  # whether a bundle has its tokenizer beside its weights

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return len(shapes.get(TOKENS, shapes.get(TOKENS.removeprefix(PREFIX), ()))) == 2

    @classmethod
    def codes_in(cls, config: dict, shapes: Shapes) -> int | None:
        return None

    @staticmethod
    def leaves(name: str) -> bool:
        return name.startswith(PICTURES)

    @staticmethod
    def renamed(name: str) -> str:
        return PREFIX + name if name.startswith(BARE) else name

    @staticmethod
    def configure(config: dict, shapes: Shapes, where: Any = "the text encoder") -> Any:
        """A CLIPTextConfig. Of a whole CLIPModel it is the part `text_config`, as from_pretrained takes it.

        The width of the projection is that of its tensor: configs of whole models may leave it at its default
        (https://github.com/huggingface/transformers/issues/25622). Raises MGTError where it cannot be read."""
        from transformers import CLIPTextConfig

        values = text_values(config) or sizes_in(shapes)
        if projection := shapes.get(PROJECTION):
            values = {**values, "projection_dim": projection[0]}
        with told_of(where, "does not describe a CLIP text encoder"):
            return CLIPTextConfig(**like(EXAMPLES, values))


def text_values(config: dict) -> dict:
    """What a config.json says of the text side."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def layers_in(shapes: Shapes) -> int:
    return next(index for index in range(len(shapes) + 1) if INSIDE.format(index) not in shapes)


def sizes_in(shapes: Shapes) -> dict:
    """Config of a file without one, by its tensors, and by the conventions above for what they do not say."""
    words, width = shapes[TOKENS]
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes.get(INSIDE.format(0), (4 * width,))[0],
        "num_hidden_layers": layers_in(shapes),
        "num_attention_heads": max(1, width // HEAD),
        "max_position_embeddings": shapes.get(POSITIONS, (77,))[0],
        "hidden_act": "quick_gelu" if width <= SMALL else "gelu",
        "bos_token_id": 0,
        "eos_token_id": 2,  # transformers' word for the highest id, which the end token is in every CLIP vocabulary
    }

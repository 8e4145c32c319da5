"""`caption`: what a picture shows, in words, by a model with a text head."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backbones.meissonic.muddit import MudditTransformer
from ..conditioning.text import TextEncoder
from ..editing import encode_image
from ..errors import MGTError, several
from ..loading.pipeline import Pipeline
from ..model import MGTModel
from ..placement import Resident, Together
from ..registry import BACKBONES
from ..sample import sample
from ..samplers.base import Sampler
from ..schedules.base import MaskSchedule, schedule_from
from ..types import UNCONDITIONAL, Callback, Condition, TokenState
from .encoder import MaskedText
from .network import CaptionNetwork
from .words import question_ids, sentence

log = logging.getLogger(__name__)

QUESTION = "Please describe this image."
DEFAULTS = {"steps": 32, "cfg": 1.0, "temperature": (2.0, 0.0), "schedule": "cosine"}  # as its authors caption
CONFIG = {"hidden": "hidden_size", "pooled": "projection_dim"}


@dataclass(frozen=True)
class OverWhole(MaskSchedule):
    """A schedule whose shares are of all places of a caption, those of the question too, as the published loop counts:
    after a long question the early steps reveal one word each."""

    schedule: MaskSchedule
    length: int

    listed = False

    def formula(self, progress: Tensor) -> Tensor:
        return self.schedule.formula(progress)

    def targets(self, steps: int, total: int) -> list[int]:
        return self.schedule.targets(steps, self.length)


def caption_model(model: MGTModel, text: TextEncoder, pictures: Tensor) -> MGTModel:
    """What `sample` fills captions with: words in place of codes, one grid of [1, L] for each of the pictures, tokens
    [B, h, w] of the model's. Condition(labels) says which picture a caption is of. Modifiers of the model come along.

    Raises MGTError for a model that cannot, and for a text encoder of another vocabulary or width.
    """
    check_parts(model, text)
    network = model.network
    row = network.mask_word.to(next(text.network.parameters()).device)
    words = MaskedText(text.network, row, network.config.tokenizer_vocab_size)
    if model.patches:
        log.warning("on captions %s has no effect", ", ".join(patch.title for patch in model.patches))
    return MGTModel(
        network=CaptionNetwork(network, words, pictures, model.pixels_per_token, text.max_length).eval(),
        pixels_per_token=1,
        timestep_rule=model.timestep_rule,
        defaults=DEFAULTS,
        modifiers=model.modifiers,
        placement=Together((model.placement or Resident(network), text.placement or Resident(text.network))),
    )


def check_parts(model: MGTModel, text: TextEncoder) -> None:
    """Raises MGTError where the two cannot make captions."""
    network = model.network if isinstance(model, MGTModel) else model
    if not isinstance(network, MudditTransformer):
        able = ", ".join(n for n in BACKBONES if issubclass(BACKBONES.get(n), MudditTransformer))
        raise MGTError(f"captions need a model with a text head ({able}), and this one is {type(network).__name__}")
    if network.mask_word is None:
        raise MGTError(
            f"captions need {network.beside['mask_word']}, which stands for a masked word: it is published in the "
            "folder 1024 of MeissonFlow/Muddit, and belongs beside the folder transformer of this model"
        )
    if not isinstance(text, TextEncoder):
        raise MGTError(f"text_encoder is {type(text).__name__}; captions need the one that was loaded with the model")
    config, own = text.network.config, network.config.tokenizer_vocab_size
    if config.vocab_size != own:
        raise MGTError(f"the text encoder knows {config.vocab_size} words and the text head of this model {own}")
    if len(network.mask_word) != config.hidden_size:
        raise MGTError(
            f"the embedding of a masked word is of width {len(network.mask_word)} and the text encoder's are of "
            f"{config.hidden_size}"
        )
    for name, field in CONFIG.items():
        if (width := getattr(config, field)) != (wanted := network.condition_widths[name]):
            raise MGTError(f"the text encoder gives {name} states of width {width} and this model takes {wanted}")


def caption_state(model: MGTModel, questions: Sequence[Sequence[int]]) -> TokenState:
    """Where captions start, [B, 1, L]: the ids of each question, then masks."""
    tokens = torch.full((len(questions), 1, model.network.length), model.mask_id)
    fixed = torch.zeros_like(tokens, dtype=torch.bool)
    for row, ids in enumerate(questions):
        tokens[row, 0, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        fixed[row, 0, : len(ids)] = True
    return TokenState(tokens, fixed, model.mask_id, model.codebook_size)


def caption(
    pipe: Pipeline,
    image: Tensor,
    question: str | Sequence[str] = QUESTION,
    *,
    steps: int | None = None,
    seed: int | Sequence[int] = 0,
    cfg: float | None = None,
    sampler: str | Sampler | None = None,
    schedule: str | MaskSchedule | None = None,
    callback: Callback | None = None,
    tile_size: int = 0,
    **options,
) -> list[str]:
    """What each of the pictures [B, H, W, 3] in 0..1 shows, or the answer to a question about it.

    The words are masked and revealed step by step, by any sampler; what is read in the end are the likeliest words of
    the last step (Muddit, arXiv 2505.23606, and its published loop). question: one, or one a picture; "" for none.
    steps, cfg, sampler, schedule, options: as `sample` has them; where nothing is chosen, 32 steps of MaskGIT with the
    cosine schedule and without guidance, as the authors caption. Other guidance compares with a picture all masked.
    Raises MGTError for a model without a text head, parts that do not belong together, and sizes that it cannot hold.
    """
    if not isinstance(pipe, Pipeline):
        raise MGTError(f"caption was given {type(pipe).__name__}; expected a loaded bundle")
    check_parts(pipe.model, pipe.text)
    if getattr(sampler, "reward", None) is not None:
        raise MGTError("the sampler is steered by a reward, which looks at pictures; captions are sampled without one")
    pictures = encode_image(pipe.model, pipe.codec, image, tile_size=tile_size).tokens
    model = caption_model(pipe.model, pipe.text, pictures)
    state = caption_state(model, [question_ids(pipe.text, each) for each in asked(question, len(pictures))])
    positive = Condition(labels=torch.arange(len(pictures)))
    negative = Condition(labels=torch.full_like(positive.labels, UNCONDITIONAL))
    schedule = schedule_from(DEFAULTS["schedule"] if schedule is None else schedule)
    cfg = DEFAULTS["cfg"] if cfg is None else cfg
    found = sample(
        model,
        state,
        positive,
        negative,
        sampler=sampler,
        schedule=OverWhole(schedule, model.network.length),
        steps=steps,
        cfg=cfg,
        seed=seed,
        callback=callback,
        **options,
    )
    best = likeliest(model, positive, negative, cfg, found)
    return [sentence(pipe.text.tokenizer, ids[~given]) for ids, given in zip(best, state.fixed[:, 0], strict=True)]


def asked(question: str | Sequence[str], pictures: int) -> Sequence[str]:
    """A question for each picture."""
    if isinstance(question, str):
        return [question] * pictures
    return several("question", question, f"one text, or {pictures}, one a picture", pictures)


def likeliest(model: MGTModel, positive: Condition, negative: Condition, cfg: float, found: TokenState) -> Tensor:
    """[B, L] the likeliest words of the last step at every place, also where one was drawn before it.

    Of each caption it is the step that revealed its last words: others of the batch may need more, and other candidates
    may have been tried after it."""
    last = found.revealed_at.flatten(1).amax(1)[:, None, None]
    tokens = found.tokens.masked_fill(found.revealed_at == last, model.mask_id)
    told = model.timestep(tokens, 0, 1)  # as of the end
    logits = model.logits(tokens, positive, told)
    if cfg != 1:
        logits = torch.lerp(model.logits(tokens, negative, told), logits, cfg)
    return logits.argmax(-1)[:, 0].cpu()

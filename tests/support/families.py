"""The families of models and the techniques, and a run of two pictures, or sounds, of any pair of them."""

from collections.abc import Callable
from pathlib import Path

import torch

import mgt_core
from mgt_core import BACKBONES, MODIFIERS, PATCHES, SAMPLERS, SCHEDULES, Condition, MGTModel
from mgt_core.backbones.base import GRID
from mgt_core.conditioning.gemma import InstructionEncoder
from mgt_core.types import SOUND

from .bundles import (
    amused_bundle,
    copy_bundle,
    dimoo_bundle,
    halton_bundle,
    magnet_bundle,
    mmada_bundle,
    muddit_bundle,
    openmuse_bundle,
    showo_bundle,
)
from .editmgt import editmgt_bundle
from .golden import bundles

STEPS = 3  # of a picture; of sound about as many a code book
SIDE, FRAMES = 8, 24  # cells of a picture, and frames of a sound: whole spans of three
TIME = "time as mask ratio"
FAMILIES: dict[str, Callable[[Path], object]] = {
    "meissonic": lambda folder: copy_bundle(folder, bundles()[0]),
    "openmuse": openmuse_bundle,
    "halton": halton_bundle,
    "amused": amused_bundle,
    "muddit": muddit_bundle,
    "editmgt": editmgt_bundle,
    "lumina_dimoo": dimoo_bundle,
    "show-o": showo_bundle,
    "mmada": mmada_bundle,
    "magnet": magnet_bundle,
}
SQUARES = ("show-o", "mmada")

KIN = {"muddit": "meissonic"}  # whose blocks are another's: what these do on a device is tried there

# What is done to the model, or how it is sampled. The registries fill in the rest.
ATTACHED: dict[str, Callable[[MGTModel], MGTModel]] = {TIME: lambda model: model.with_timestep_rule("mask_ratio")}
# Settings of parts whose defaults change nothing, or that need some.
ACTING: dict[str, Callable[[MGTModel], dict]] = {
    "compile": lambda model: {"backend": "eager"},
    "guidance": lambda model: {"start": 0.25, "end": 0.75},
    "reference": lambda model: {"tokens": reference_tokens(model)},
    "rescoring": lambda model: {"rescorer": model.with_modifier(mgt_core.TopKTopP(k=1))},
    "self_guidance": lambda model: {"branch": mgt_core.fresh_branch(model.network)},
    "stage_steps": lambda model: {"shares": (1,) * len(model.stage_shares)},
    # The second of aMUSEd's two layers shows in no token of a short run.
    "step_skipping": lambda model: {"first": 0} if BACKBONES.name_of(type(model.network)) == "amused" else {},
    "top_k_top_p": lambda model: {"k": 2},
}


def reference_tokens(model: MGTModel, side: int = 8) -> torch.Tensor:
    """Of a picture of any codes, on a grid of `side`."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(model.codebook_size - 1, (1, side, side), generator=generator)


def acting(model: MGTModel, name: str, kind: type) -> MGTModel:
    """With the part `name`, so that it does something."""
    return model.with_part(kind(**ACTING.get(name, lambda model: {})(model)))


ATTACHED |= {f"patch {n}": lambda model, n=n: acting(model, n, PATCHES.get(n)) for n in PATCHES}
ATTACHED |= {f"modifier {n}": lambda model, n=n: acting(model, n, MODIFIERS.get(n)) for n in MODIFIERS}
EXACT = {f"patch {n}" for n in PATCHES if PATCHES.get(n).place in ("network", "launch")}  # the same tokens, another way
SAMPLED: dict[str, dict] = {
    "no guidance": {"cfg": 1.0},
    "negative alone": {"cfg": 0.0},
    "other temperature": {"sampler": mgt_core.MaskGIT((4.5, 0.0), temperature_shape="cosine")},
    "released temperature": {"sampler": mgt_core.MaskGIT((45.0, 0.0), temperature_shape="compounding")},
    "random order": {"sampler": mgt_core.FixedOrder("random")},
    "raster order": {"sampler": mgt_core.FixedOrder("raster", counts="schedule")},
    "rolled order": {"sampler": mgt_core.FixedOrder(roll=True)},
    "one step without noise": {"sampler": mgt_core.OneStep(noise=0.0)},
}
# Where a run starts, of pictures [B, H, W, 3]; and the same of sounds [B, 1, S].
STARTS: dict[str, Callable] = {
    "image to image": lambda pipe, image, seed: mgt_core.encode_image(pipe.model, pipe.codec, image, 0.5),
    "inpainting": lambda pipe, image, seed: mgt_core.mask_tokens(encoded(pipe, image), half_of(image)),
    "variation": lambda pipe, image, seed: mgt_core.vary_tokens(encoded(pipe, image), 0.5, seed=seed),
    "outpainting": lambda pipe, image, seed: mgt_core.pad_tokens(
        pipe.model, encoded(pipe, image), (0, 0, 2 * pipe.codec.scale, 0)
    ),
}
SOUND_STARTS: dict[str, Callable] = {
    "image to image": lambda pipe, wave, seed: encoded_sound(pipe, wave, 0.5),
    "inpainting": lambda pipe, wave, seed: mgt_core.mask_sound(
        pipe.model, encoded_sound(pipe, wave), 0, seconds(pipe) / 2
    ),
    "variation": lambda pipe, wave, seed: mgt_core.vary_tokens(encoded_sound(pipe, wave), 0.5, seed=seed),
    "outpainting": lambda pipe, wave, seed: mgt_core.extend_sound(
        pipe.model, encoded_sound(pipe, wave), after=seconds(pipe) / 4
    ),
}
SAMPLED |= {f"sampler {name}": {"sampler": name} for name in SAMPLERS}
# Without objects it is MaskGIT: a word each, in rows that every prompt has.
SAMPLED["sampler uncage"] = {"sampler": mgt_core.Uncage((2.0, 0.0), weight=30, end=1.0, objects=((((1,),), ((2,),)),))}
# Which by default compares more steps than these runs have.
HASTY = mgt_core.KLASS((2.0, 0.0), temperature_shape="linear", confidence=0.0, kl=100.0, history=1)
SAMPLED["sampler klass"] = {"sampler": HASTY}
SAMPLED |= {f"schedule {name}": {"schedule": name} for name in SCHEDULES if SCHEDULES.get(name).listed}
TWO = "two conditions"
TECHNIQUES = [*ATTACHED, *SAMPLED, *STARTS, TWO]

TIMED = {"meissonic", "muddit", "editmgt"}  # whose networks are told the time

# Why, in words of the sentence that people get: docs/families.md shows them.
REFUSED = {(name, "outpainting"): "this model makes square pictures alone" for name in SQUARES}
# What a technique needs of the blocks (a field of Hooks), and what it is called where they lack it.
NEEDED = {f"patch {n}": (PATCHES.get(n).needs, PATCHES.get(n).title) for n in PATCHES if PATCHES.get(n).needs}
NEEDED |= {"sampler uncage": ("attention", "UNCAGE"), "sampler one_step": ("perturb", "noise on the embeddings")}
for family, kind in ((name, BACKBONES.get(name)) for name in FAMILIES):
    for technique, (hook, title) in NEEDED.items():
        if hook not in kind.supports:
            told = kind.reason_against(hook) or f"{title} does not work with the {family} architecture"
            REFUSED.setdefault((family, technique), told)
    if GRID in kind.refusals:
        REFUSED[family, "outpainting"] = kind.refusals[GRID]


def encoded(pipe: mgt_core.Pipeline, image: torch.Tensor) -> mgt_core.TokenState:
    return mgt_core.encode_image(pipe.model, pipe.codec, image)


def seconds(pipe: mgt_core.Pipeline) -> float:
    """Of the sounds that runs here make."""
    return FRAMES * pipe.codec.scale / pipe.model.sample_rate


def encoded_sound(pipe: mgt_core.Pipeline, wave: torch.Tensor, strength: float = 1.0) -> mgt_core.TokenState:
    return mgt_core.encode_sound(pipe.model, pipe.codec, wave, pipe.model.sample_rate, strength)


def blank(pipe: mgt_core.Pipeline, batch: int = 2) -> mgt_core.TokenState:
    """Where a run of a few cells starts that is given nothing."""
    if pipe.model.makes == SOUND:
        return mgt_core.empty_sound(pipe, seconds(pipe), batch)
    return mgt_core.empty_tokens(pipe, SIDE * pipe.codec.scale, SIDE * pipe.codec.scale, batch)


def steps_for(pipe: mgt_core.Pipeline, steps: int) -> int:
    """So many of a picture, and about as many a code book of a sound."""
    return steps * len(pipe.model.stage_shares)


def started(pipe: mgt_core.Pipeline, technique: str, images: tuple[int, ...] = (0, 1)) -> mgt_core.TokenState:
    """Where a run of these images of two starts."""
    if technique not in STARTS:
        return blank(pipe, len(images))
    generator = torch.Generator().manual_seed(0)
    if pipe.model.makes == SOUND:
        wave = torch.rand(2, 1, FRAMES * pipe.codec.scale, generator=generator) * 2 - 1
        return SOUND_STARTS[technique](pipe, wave[list(images)], images[0])
    image = torch.rand(2, SIDE * pipe.codec.scale, SIDE * pipe.codec.scale, 3, generator=generator)
    return STARTS[technique](pipe, image[list(images)], images[0])


def half_of(image: torch.Tensor) -> torch.Tensor:
    """A mask of the upper half."""
    mask = torch.zeros(image.shape[:3])
    mask[:, : image.shape[1] // 2] = 1
    return mask


def conditions(pipe: mgt_core.Pipeline) -> tuple[Condition, Condition]:
    """Of two images, each its own."""
    if pipe.text is None:
        return Condition(labels=torch.tensor([1, 2])), Condition(labels=torch.tensor([3, 3]))
    # Said often enough to be more than what fills up a prompt that is as long as any other.
    often = pipe.text.max_length // 2 if isinstance(pipe.text, InstructionEncoder) else 1
    return pipe.text.encode([often * "a cat", often * "a red dog"]), pipe.text.encode(["", ""])


def one_of(condition: Condition, index: int) -> Condition:
    fields = ("hidden", "pooled", "micro", "labels", "prompt", "visible")
    values = {name: getattr(condition, name) for name in fields}
    return Condition(**{n: v[index : index + 1] for n, v in values.items() if v is not None})


def run(pipe: mgt_core.Pipeline, technique: str, images: tuple[int, ...] = (0, 1), callback=None) -> torch.Tensor:
    """Tokens of some of the two images of a run."""
    model = ATTACHED.get(technique, lambda model: model)(pipe.model)
    cfg = 4.0 if model.makes == SOUND else 2.0  # the words of a tiny T5 move little
    chosen = {"sampler": "maskgit", "schedule": "cosine", "cfg": cfg, **SAMPLED.get(technique, {})}
    named = isinstance(chosen["sampler"], str)
    if named and issubclass(SAMPLERS.get(chosen["sampler"]), mgt_core.ConfidenceSampler):
        chosen |= {"temperature": (2.0, 0.0), "temperature_shape": "linear"}  # whatever the family recommends
    positive, negative = (Condition.cat([one_of(c, i) for i in images]) for c in conditions(pipe))
    state = started(pipe, technique, images)
    if technique == TWO:
        positive = mgt_core.Conditions(
            (mgt_core.ConditionPart(positive, 1.0), mgt_core.ConditionPart(negative, 2.0, end=0.5))
        )
    steps = steps_for(pipe, STEPS)
    out = mgt_core.sample(model, state, positive, negative, steps=steps, seed=images[0], callback=callback, **chosen)
    assert not out.masked.any() and out.tokens.max() < pipe.codec.codebook_size
    assert torch.equal(out.tokens[state.fixed], state.tokens[state.fixed])
    return out.tokens

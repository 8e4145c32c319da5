"""Is it right there: every family, sampler, technique, number format and packing, tiny, against the CPU.

The table is that of the tests (tests/support/families.py), so that a part of a registry is in it by itself.
"""

import copy
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

import mgt_core
from mgt_core.quantization.quantize import layers_of
from mgt_core.quantization.schemes import scheme_from

from ..support import support
from .names import DIFFERS, RAN, SAME
from .session import Session, quantized
from .ties import NEAR, apart, compare, watched
from .tries import LeftOut, Tries

CPU = torch.device("cpu")
HALF_NEAR = 0.05  # as ties.NEAR, of packed layers in half precision, by kernels of another order of sums
CLEAR = 50.0  # dB of a decoded picture against the CPU's
CAPTIONS = ("a red heart on a yellow background", "an owl on a blue background", "a pizza", "a dog face and a cat face")
PLAIN = "sampler maskgit"
TINY_EVERY = 12  # of the techniques, one is tried by a tiny run

Models = Callable[..., mgt_core.Pipeline]


def suite(session: Session, tries: Tries) -> None:
    families, techniques = list(support("families").FAMILIES), list(support("families").TECHNIQUES)
    if session.tiny:
        families, techniques = families[:1], techniques[::TINY_EVERY]
    with tempfile.TemporaryDirectory() as folder, plain_convolutions():
        models = cache(partial(model, Path(folder)))
        tries("built-in model", partial(built_in, session))
        for family in families:
            both = partial(models, family, CPU), partial(models, family, session.device)
            tries(f"{family}: logits", partial(logits, *both))
            tries(f"{family}: text", partial(text, *both))
            tries(f"{family}: decode", partial(decode, *both))
            for dtype in (torch.bfloat16, torch.float16):
                tries(f"{family}: {dtype}", partial(finite, partial(models, family, session.device, dtype)))
            for scheme in mgt_core.list_quantizations()[:: 3 if session.tiny else 1]:
                own = partial(models, family, session.device, session.dtype)
                tries(f"{family}: {scheme}", partial(packed, own, scheme))
        for family in families:
            for technique in techniques:
                if (family, technique) not in support("families").REFUSED:
                    tries(f"{family}: {technique}", partial(same_tokens, models, family, technique, session.device))


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Without TF32, which is another format than float32 and which torch allows for convolutions by default."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def model(folder: Path, family: str, device: torch.device, dtype: torch.dtype = torch.float32) -> mgt_core.Pipeline:
    """A tiny one of the family, whose files are written when they are first asked for."""
    return mgt_core.load(written(folder / family, family), dtype=dtype, device=device)


@cache
def written(folder: Path, family: str) -> Path:
    return support("families").FAMILIES[family](folder)


def side_of(pipe: mgt_core.Pipeline) -> int:
    """Pixels that every family makes, as the table's runs have it."""
    return 8 * pipe.codec.scale


def state_of(pipe: mgt_core.Pipeline) -> tuple[Tensor, mgt_core.Condition]:
    """Two half-masked grids [2, h, w], and conditions for them."""
    generator, side = torch.Generator().manual_seed(0), side_of(pipe)
    grid = (2, *pipe.model.grid_for(side, side))
    tokens = torch.randint(pipe.model.codebook_size, grid, generator=generator)
    masked = torch.rand(grid, generator=generator) < 0.5
    return tokens.masked_fill(masked, pipe.model.mask_id), support("families").conditions(pipe)[0]


def logits(here: Models, there: Models) -> dict:
    """Of float32 networks, as they are before guidance."""
    ours, theirs = (pipe.model.logits(*state_of(pipe), 1.0).cpu() for pipe in (here(), there()))
    return within(ours, theirs, NEAR)


def text(here: Models, there: Models) -> dict:
    if here().text is None:
        raise LeftOut("it has no text encoder")
    ours, theirs = (support("families").conditions(pipe)[0] for pipe in (here(), there()))
    hidden, pooled = (within(a, b.cpu(), NEAR) for a, b in ((ours.hidden, theirs.hidden), (ours.pooled, theirs.pooled)))
    return max(hidden, pooled, key=lambda found: found["error"])


def within(ours: Tensor, theirs: Tensor, near: float) -> dict:
    error, _ = apart(ours, theirs)
    return {"verdict": SAME if error <= near else DIFFERS, "error": error, "near": near}


def decode(here: Models, there: Models) -> dict:
    """The same tokens as pictures."""
    generator, pipe = torch.Generator().manual_seed(0), here()
    grid = pipe.model.grid_for(side_of(pipe), side_of(pipe))
    ids = torch.randint(pipe.codec.codebook_size, (2, *grid), generator=generator)
    return pictures_apart(pipe.codec.decode(ids), there().codec.decode(ids).cpu())


def pictures_apart(ours: Tensor, theirs: Tensor) -> dict:
    error = float((ours - theirs).square().mean())
    psnr = 10 * math.log10(1 / max(error, 1e-20))
    return {"verdict": SAME if psnr >= CLEAR else DIFFERS, "psnr": psnr, "largest": float((ours - theirs).abs().max())}


def finite(there: Models) -> dict:
    """A run in half precision; one whose numbers are not finite ends in an error by itself."""
    return {"verdict": RAN, "tokens": support("families").run(there(), PLAIN).numel()}


def packed(there: Models, name: str) -> dict:
    """Packed there, in the type of the device: its logits against the plain path's on the CPU."""
    pipe = there()
    try:
        layers_of(pipe.model, scheme_from(name))
    except mgt_core.MGTError as why:
        raise LeftOut(str(why)) from None
    small = quantized(pipe.model, pipe.text, name, side_of(pipe))
    support("families").run(replace(pipe, model=small), PLAIN)
    theirs = small.logits(*state_of(pipe), 1.0).cpu()
    own = replace(small, network=copy.deepcopy(small.network).to(CPU))
    tokens, condition = state_of(pipe)
    return within(own.logits(tokens, condition.to(CPU), 1.0), theirs, HALF_NEAR)


def same_tokens(models: Models, family: str, technique: str, device: torch.device) -> dict:
    """Two pictures of a few steps, draw by draw."""
    runs, tokens = [], []
    for place in (CPU, device):
        with watched() as found:
            tokens.append(support("families").run(models(family, place), technique).cpu())
        runs.append(found.events)
    if device != CPU and technique in drawn_there():
        return {"verdict": RAN, "tokens": tokens[1].numel()}
    return told(runs, tokens)


def drawn_there() -> tuple[str, ...]:
    """Techniques whose bulk noise is drawn on the device, whose generator is another one."""
    noise = mgt_core.MODIFIERS.name_of(mgt_core.NoiseRegularization)
    return f"modifier {noise}", f"sampler {mgt_core.SAMPLERS.name_of(mgt_core.OneStep)}"


def told(runs: list, tokens: list[Tensor]) -> dict:
    return asdict(compare(*runs)) | {"equal": float((tokens[0] == tokens[1]).float().mean())}


def built_in(session: Session) -> dict:
    """Real weights, as its bundle recommends; and the CPU's tokens decoded on both."""
    texts, runs, outcomes, pipes = CAPTIONS[: 1 if session.tiny else None], [], [], []
    for place in (CPU, session.device):
        pipe = mgt_core.load("demo", dtype=torch.float32, device=place)
        with watched() as found:
            state = mgt_core.empty_tokens(pipe, *pipe.size, batch=len(texts))
            conditions = pipe.text.encode(texts), pipe.text.encode("")
            steps = 3 if session.tiny else None
            outcomes.append(mgt_core.sample(pipe.model, state, *conditions, steps=steps, seed=0))
        runs.append(found.events)
        pipes.append(pipe)
    pictures = [pipe.codec.decode(outcomes[0]).cpu() for pipe in pipes]
    decoded = pictures_apart(*pictures)
    found = told(runs, [out.tokens for out in outcomes])
    if decoded["verdict"] == DIFFERS and found["verdict"] == SAME:
        found |= {"verdict": DIFFERS, "reason": f"pictures are {decoded['psnr']:.1f} dB apart"}
    return found | {"psnr": decoded["psnr"]}

"""LoRAs with one thing to three spoiled: each can be sampled with, or is refused in a sentence; where logits are not
finite, sampling says so."""

import json
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import torch

import mgt_core
from support.golden import bundles
from support.loras import (
    METHODS,
    linear_layers,
    logits,
    low_rank_pairs,
    save_diffusers,
    save_kohya,
    save_parts,
    save_peft,
)
from support.mutants import odd, spoiled_file
from support.trials import refused

SHORT = 60
OUTCOMES = ("loaded", "refused")
PATTERNS = {"to_[qkv]": 1.0, r"transformer_blocks\.\d+\.attn.*": 4, "context_embedder": 2.0}
HANGING = ("(a+)+$", "(.*)*x", "(([a-z_0-9.])+.)+[A-Z]([a-z])+$", "(a|aa)+$", ".*.*.*.*.*x")
HANGING += ("." * 400, "[", "(?P<a>x)", "\\")


@cache
def sources() -> tuple[mgt_core.Pipeline, dict[str, tuple[str, dict[str, bytes]]]]:
    """A model; and of each layout what is loaded, as a path within, and its files."""
    pipe = mgt_core.load(bundles()[-1], device="cpu")
    pairs = low_rank_pairs(pipe.model.network)
    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_peft(folder / "peft", pairs, 8.0, alpha_pattern=PATTERNS)
        save_diffusers(folder / "diffusers" / "style.safetensors", pairs, 8.0)
        save_kohya(made(folder / "kohya") / "style.safetensors", pairs, 8.0)
        torch.save({f"{n}.lora_{s}.weight": t for n, p in pairs.items() for s, t in zip(("down", "up"), p)},
                   made(folder / "pickle") / "style.pt")  # fmt: skip
        sizes = linear_layers(pipe.model.network)
        for place, make in enumerate(METHODS.values()):
            parts = {f"lycoris_{n.replace('.', '_')}": make(*sizes[n][::-1])[0] for n in pairs}
            save_parts(folder / f"method {place}" / "style.safetensors", parts)
        for layout in sorted(folder.iterdir()):
            inner = "." if layout.name == "peft" else next(layout.iterdir()).name
            found[layout.name] = inner, {path.name: path.read_bytes() for path in layout.iterdir()}
    return pipe, found


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def get_ready() -> None:
    """All that a trial imports, and what it spoils."""
    mgt_core.sample(sources()[0].model, *given(), steps=1, cfg=2.0)


def trial(seed: int, folder: Path) -> str:
    random = Random(seed)
    pipe, layouts = sources()
    inner, files = layouts[random.choice(list(layouts))]
    files = dict(files)
    for _ in range(random.choice((1, 1, 2, 3))):
        name = random.choice(list(files))
        files[name] = spoiled_file(random, name, files[name])
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if random.random() < 0.2:
        write_patterns(random, folder)
    strength = random.choice((1.0, 1.0, 1.0, -0.5, 100, odd(random)))
    try:
        model = pipe.model.with_lora(folder / inner, strength)
        mgt_core.sample(model, *given(), steps=1, cfg=2.0)
    except mgt_core.MGTError as error:
        return refused(error)
    assert bool(logits(pipe, model).isfinite().all()), "the logits are not finite"
    return "loaded"


@cache
def given() -> tuple[mgt_core.TokenState, mgt_core.Condition, mgt_core.Condition]:
    pipe = sources()[0]
    side = 4 * pipe.codec.scale
    return mgt_core.empty_tokens(pipe, side, side, 1), pipe.text.encode("a red heart"), pipe.text.encode("")


def write_patterns(random: Random, folder: Path) -> None:
    """PEFT's settings with patterns of any kind."""
    made_up = "".join(random.choices("ab.*+?[]()|\\^$dw{}1", k=9))
    patterns = {random.choice((*HANGING, *PATTERNS, made_up)): 2.0 for _ in range(3)}
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 4.0, "alpha_pattern": patterns}))

"""Texts in place of the config that a checkpoint of audiocraft holds: a table of plain values, or a refusal."""

import json
import random
from pathlib import Path

from mgt_core import MGTError
from mgt_core.loading.part import read_part
from mgt_core.loading.references import resolved
from support.golden import OWN
from support.odd_files import damaged
from support.pickles import tensor, write_pickle
from support.trials import refused

SHORT = 100
OUTCOMES = ("read", "refused")
PIECES = (
    *("lm_model: transformer_lm\n", "transformer_lm:\n", "  dim: 8\n", "  n_q: ${a.b}\n", "- x\n", "a: [1, {b: c}]\n"),
    *("a: &x [*x, *x]\n", "b: *x\n", "<<: {a: 1}\n", "? [a]\n: b\n", "!!python/name:os.system x\n", "!!binary aGk=\n"),
    *("---\n", "...\n", "%YAML 9.9\n", "a: |\n  b\n", "a: >-\n  b\n", "2001-01-01: .inf\n", "\t", "\x00", "\u2028"),
    *("[" * 100, "{" * 100, "'" * 100, "1:1:" * 500, "9" * 4500, "0x" + "f" * 4500, "x" * 70_000, ": " * 100, "é: é\n"),
    *("conditioners: {description: {model: t5, t5: {name: ../x}}}\n", "sample_rate: ${sample_rate}\n", "on: off\n"),
)  # fmt: skip
NAMES = ("emb.0.weight", "linears.0.weight", "quantizer.vq.layers.0._codebook.embed", "a")


def trial(seed: int, folder: Path) -> str:
    draws = random.Random(seed)
    text = "".join(draws.choices(PIECES, k=draws.randrange(1, 6)))
    if draws.random() < 0.4:
        text = spoiled(draws)
    held = {draws.choice(NAMES): tensor(4, 2, 2, strides=(2, 1))}
    note = {draws.choice(["xp.cfg"] * 5 + ["pretrained"]): text.encode("utf-8", "replace").decode()}
    file = write_pickle(folder / "state_dict.bin", {"best_state": held, **note}, {"0": bytes(16)})
    part = read_part(file)
    if part.problem is not None:
        return refused(part.problem)
    json.dumps(part.config)
    try:
        resolved({**part.config, "a": {"b": 1}}, "transformer_lm.n_q", None)
    except MGTError as error:
        return refused(error)
    return "read"


def spoiled(draws: random.Random) -> str:
    """A published config with some of its bytes changed."""
    file = OWN / "audio" / "magnet" / draws.choice(["state_dict.bin", "compression_state_dict.bin"])
    content = file.read_bytes()
    start = content.index(b"device: ")
    return damaged(draws, content[start : start + 5000]).decode("utf-8", "replace")

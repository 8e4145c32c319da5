"""Names of tensors as trainings leave them, and the plain ones that networks have: every word that is taken off.

Before a name stand the attributes, and in a pickle the keys, that the weights lie below (`model.diffusion_model.`,
`ema_model.module.`, and whatever else stands before every name of a file); compiled, data-parallel and checkpointed
modules leave a word wherever they were wrapped (`blocks.3._orig_mod.attn`). They are taken off only where that makes
the names those of what is wanted, and as few as do. Another word that people's files have is one more in a table here.

A file may hold raw weights and their averages (EMA): the averages are read where they have every tensor that the raw
weights have, since authors sample with them; else the raw weights."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from .listing import is_listing
from .stored import Stored

log = logging.getLogger(__name__)

# Left anywhere in a name: by torch.compile, data parallelism, FSDP, checkpoints of activations, DeepSpeed.
INNER = frozenset(("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
# Before it; of several sets of weights in one file the one whose words come first here.
OUTER = (
    *("model_state_dict", "state_dict", "model", "module", "model_states", "model_weights", "weights", "params"),
    *("diffusion_model", "transformer", "net", "network", "net_g", "generator", "backbone", "denoiser", "student"),
    *("base_model", "online_model", "text_encoder", "vqvae", "vq_model", "vqgan", "autoencoder", "tokenizer"),
)
AVERAGED = frozenset(("ema", "swa", "averaged"))  # in such words: model_ema, state_dict_ema, ema_0.9999
# Beside the weights: what counts the steps of an average, and networks that a loss is made with.
COUNTS = frozenset(("n_averaged", "num_updates", "decay", "initted", "step", "global_step"))
LOSSES = frozenset(("loss", "loss_fn", "discriminator", "perceptual_loss", "lpips"))

BELOW = "::"  # between the keys of dictionaries within one another, and the name of a tensor in the last
LEVELS = 6  # of such dictionaries, and words before a name
LONGEST = 100  # characters of the keys that lead to a tensor
PREFIXES = 24  # in one file, of which the shortest are tried

Fits = Callable[[Mapping[str, Stored]], Any]
Prefix = tuple[str, ...]


class Beginning(NamedTuple):
    """outer: the words before names that may be taken off; the first `keys` of them are of dictionaries, which are
    always."""

    outer: Prefix
    keys: int

    def left(self, prefix: Prefix) -> Prefix | None:
        """What is left without these words; None where it does not begin with them, lies in a dictionary further below,
        or is another copy."""
        left = self.outer[len(prefix) :]
        other = len(prefix) < self.keys or self.outer[: len(prefix)] != prefix or any(map(is_averaged, left))
        return None if other else left


Names = Mapping[Beginning, list[tuple[str, Stored]]]  # all names by their beginnings, each with what is behind that


def unwrapped(stored: Mapping[str, Stored], fits: Fits | None = None) -> dict[str, Stored]:
    """The tensors of a file by plain names. fits: whether these are the names of what is wanted. Where they never are,
    or nothing is said of it, only the keys of dictionaries and the words of INNER are taken off."""
    names: dict[Beginning, list[tuple[str, Stored]]] = {}
    shared = shared_words(stored)
    for full, entry in stored.items():
        beginning, rest = taken_apart(full, shared)
        names.setdefault(beginning, []).append((rest, entry))
    if fits:
        prefixes = {outer[:count] for outer, keys in names for count in range(keys, len(outer) + 1)}
        ordered = sorted(prefixes, key=lambda prefix: (len(prefix), -sum(map(is_averaged, prefix)), *ranks(prefix)))
        if found := best(names, ordered[:PREFIXES], fits):
            return found
        if fits(stored):  # a network with such words in its own names
            return dict(stored)
    bare: dict[Beginning, list[tuple[str, Stored]]] = {}
    for (outer, keys), held in names.items():
        bare.setdefault(Beginning(outer[:keys], keys), []).extend(behind(outer[keys:], held))
    ordered = sorted({outer for outer, _ in bare}, key=lambda keys: (not keys, *ranks(keys)))
    return best(bare, ordered[:PREFIXES], bool) or dict(stored)


def best(names: Names, prefixes: Iterable[Prefix], fits: Fits) -> dict[str, Stored] | None:
    """The tensors below the first of the prefixes that fits, averages before raw weights where they are whole."""

    def first(averaged: bool) -> dict[str, Stored] | None:
        wanted = (prefix for prefix in prefixes if any(map(is_averaged, prefix)) == averaged)
        readings = (at_prefix(names, prefix) for prefix in wanted)
        return next((reading for reading in readings if fits(reading)), None)

    raw, mean = first(averaged=False), first(averaged=True)
    if not raw or not mean:
        return mean or raw
    whole = raw.keys() <= mean.keys()
    if not is_listing():
        taken = "the averages are read" if whole else "the raw weights are read, since the averages lack some"
        log.info("%s holds weights and their averages: %s", next(iter(raw.values())).file, taken)
    return mean if whole else raw


def at_prefix(names: Names, prefix: Prefix) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for beginning, held in names.items():
        if (left := beginning.left(prefix)) is not None:
            for name, entry in behind(left, held):
                if name not in COUNTS and name.partition(".")[0] not in LOSSES:
                    found.setdefault(name, entry)
    return found


def behind(words: Prefix, held: list[tuple[str, Stored]]) -> list[tuple[str, Stored]]:
    """The same with words before the names."""
    before = "".join(f"{word}." for word in words)
    return [(before + rest, entry) for rest, entry in held] if before else held


def taken_apart(full: str, shared: int) -> tuple[Beginning, str]:
    """shared: how many words, of any kind, stand before every name of the file."""
    *keys, name = full.split(BELOW)
    words = name.split(".")
    if not INNER.isdisjoint(words):
        words = [word for word in words if word not in INNER] or [name]
    count = 0
    while count < min(LEVELS, len(words) - 1) and (count < shared or is_outer(words[count])):
        count += 1
    return Beginning((*keys, *words[:count]), len(keys)), ".".join(words[count:])


def shared_words(names: Iterable[str]) -> int:
    """How many words stand before every name: attributes of somebody's own training, which no table can know."""
    before = os.path.commonprefix(list(names)).rpartition(".")[0].rpartition(BELOW)[2]
    return sum(bool(word) and word not in INNER for word in before.split("."))


def seen_through(name: str) -> list[str]:
    """A name without words of INNER, with ever fewer of the words before it, itself first."""
    found = [name]
    while len(found) <= LEVELS and is_outer(name.partition(".")[0]) and (name := name.partition(".")[2]):
        found.append(name)
    return found


@lru_cache(maxsize=10_000)  # the names of a file begin with the same few words
def is_outer(word: str) -> bool:
    return word in OUTER or is_averaged(word)


def is_averaged(word: str) -> bool:
    return not AVERAGED.isdisjoint(word.lower().replace("-", "_").split("_"))


def ranks(words: Prefix) -> list[str]:
    """What words are sorted by."""
    return [f"{OUTER.index(word) if word in OUTER else len(OUTER):03}{word}" for word in words]


def flattened(held: object, kind: type) -> dict[str, Any]:
    """Those of `kind` in a dictionary and in those within it, by the keys that lead there: {"model": {"a": x}} has
    model::a. Each dictionary is gone through once, those of OUTER first."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(value: object, keys: Prefix) -> None:
        if not isinstance(value, Mapping) or id(value) in seen or len(keys) > LEVELS or sum(map(len, keys)) > LONGEST:
            return
        seen.add(id(value))
        inner = []
        for name, one in value.items():
            if isinstance(name, str) and isinstance(one, kind):
                found[BELOW.join((*keys, name))] = one
            elif isinstance(name, str):
                inner.append(name)
        for name in sorted(inner, key=lambda name: ranks((name,))):
            visit(value[name], (*keys, name))

    visit(held, ())
    return found

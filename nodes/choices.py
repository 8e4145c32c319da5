"""What loaders offer, and the one sentence on a choice that is none of it: what is to be downloaded and where it goes,
or what lies there instead."""

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from ..mgt_core.errors import MGTError, join_some, shortened, shown_text
from ..mgt_core.loading.disk import is_file
from ..mgt_core.loading.foreign import Foreign
from ..mgt_core.loading.hub import readable
from ..mgt_core.loading.layouts import BUILT_IN, is_hf_layout, remembered
from ..mgt_core.loading.listing import can_be_shown
from ..mgt_core.loading.repositories import REPOSITORIES, Repository, published
from ..mgt_core.loading.shards import leads_out
from ..mgt_core.registry import BACKBONES, CODECS, TEXT_ENCODERS
from . import folders, host
from .fingerprints import fingerprint

BEHIND = " — "  # between the name of what is no model and its reason
MOST = 40  # of those in a widget: a whole folder of other models may be given as one of ours
LONGEST_VALUE = 100  # characters of a choice that are told
# What a choice of an input may be: name -> what the library takes; and what it may be beside files.
KNOWN: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "model": lambda: host.bundles(),
    "text_encoder": lambda: host.text_encoders(),
    "codec": lambda: host.codecs(),
    "base": lambda: host.lenders("vqvae"),
    "tokenizer": lambda: host.lenders("tokenizer"),
    "branch": lambda: host.branches(),
    "lora": lambda: host.loras(),
}
OWN = {
    "text_encoder": (host.FROM_BUNDLE, host.NONE),
    "codec": (host.FROM_BUNDLE,),
    "base": (host.NONE,),
    "tokenizer": (host.BESIDE,),
    "lora": (host.NONE,),
}
KINDS = (
    *host.SEARCHED_FOLDERS,
    *host.TEXT_FOLDERS,
    "vae",
    "loras",
    "unet",
    "controlnet",
    "embeddings",
    "upscale_models",
)
# Parts of models, by the input that takes them: what one is called, and what to do where it is not listed there.
PARTS = (
    ("model", BACKBONES, "a transformer alone", "put it into models/mgt"),
    ("codec", CODECS, "a codec alone", "put it into models/mgt"),
    ("text_encoder", TEXT_ENCODERS, "a text encoder alone", "put it into models/text_encoders, as safetensors"),
)
# What a widget takes, for someone who chose something else.
WANTED = {
    "model": "wanted is a masked generative transformer in models/mgt, such as Meissonic or aMUSEd",
    "text_encoder": "wanted is a text encoder of CLIP, or a folder of T5 with its config.json and tokenizer.json",
    "codec": "wanted is a codec that has codes, as the model's own",
    "lora": "wanted is a LoRA of the model, in models/loras",
}


class Offered(list):
    """The choices of a widget whose node says itself what is wrong with others: the host's own check lets them pass.
    (Of several inputs that VALIDATE_INPUTS names the host marks all, whichever is wrong.)"""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str)


def models() -> list[str]:
    """Names of models, and behind them what lies among them and is none, each with its reason."""
    usable = host.bundles()
    others = folders.misplaced_in(host._search_paths(), usable)
    return [*usable, *(f"{name}{BEHIND}{told.short}" for name, told in list(others.items())[:MOST])]


def left_out() -> list[str]:
    """Lines on what lies in the folders of models and cannot be picked: each of ours, and so many of each kind of those
    that are shared."""
    search = list(host._search_paths())
    ours = folders.misplaced_in(search, host.bundles())
    kinds: dict[tuple[str, str], list[str]] = {}
    for (kind, name), told in folders.elsewhere_in(search).items():
        kinds.setdefault((kind, told.words), []).append(name)
    lines = [f"- {name}: {told.short} ({shortened(told.advice, LONGEST_VALUE)})" for name, told in ours.items()]
    others = [f"- {kind}: {words} ({join_some(names)})" for (kind, words), names in kinds.items()]
    more = [f"- and {len(lines) - MOST} more in models/mgt"] if len(lines) > MOST else []
    found = [*lines[:MOST], *more, *others]
    return ["Found, and none of the models that MGT Load Model takes:", *found] if found else []


def plain(value: str, known: Mapping[str, object]) -> str:
    """A choice as it is called here: without the reason behind it, which a saved workflow keeps when the file has
    become a good one, and otherwise as `meant` has it."""
    name = value if value in known or BEHIND not in value else value.rpartition(BEHIND)[0]
    return folders.meant(name, known)


def path_of(what: str, value: str | None) -> str | None:
    """What the library takes for a choice; None for what is no file, or is wired. Raises MGTError with the sentence of
    `fault` where it is none of the choices."""
    return _found(what, value)[1]


def names(**chosen: str | None) -> list[str | None]:
    """The choices as they are called here. Raises MGTError for the first that is none."""
    return [_found(what, value)[0] for what, value in chosen.items()]


def _found(what: str, value: str | None) -> tuple[str | None, str | None]:
    if value is None or value in OWN.get(what, ()):
        return value, None
    known = KNOWN[what]()
    if told := fault(what, value, known):
        raise MGTError(f"{what} {told}")
    name = plain(value, known)
    return name, known[name]


def answer(what: str, value: str | None) -> bool | str:
    """For VALIDATE_INPUTS, where what is wired is None and the host writes the input's name before the sentence."""
    if value is None or value in OWN.get(what, ()):
        return True
    return shown_text(fault(what, value, KNOWN[what]())) or True


def changes(**chosen: str | None) -> str:
    """For IS_CHANGED: another text once a file behind one of the choices is another."""
    try:
        return fingerprint(*(path_of(what, value) for what, value in chosen.items()))
    except MGTError:  # running says it; not here, since hosts write this into pictures and it may name folders
        return ""


def fault(what: str, value: str, known: Mapping[str, object]) -> str:
    """What is wrong with a choice, to be read after the name of the input; nothing where it is offered."""
    if not isinstance(value, str):
        return f"is {shown_text(repr(value), LONGEST_VALUE)}; expected one of the choices that the node offers"
    if (name := plain(value, known)) in known:
        return ""
    shown = shown_text(repr(name), LONGEST_VALUE)
    if path := lying(name):
        foreign = folders.what_is(path)
        if not foreign and (listed := listed_as(path, known)):
            return f"{shown} is {listed}: choose that"
        if lies := sentence(foreign) if foreign else mistaken(path, what):
            wanted = WANTED.get(what)
            return f"{shown} is {lies}{f'; {wanted}' if wanted else ''}"
    get = published(name)
    here = [one for one in known if get and published(one) is get]  # the same by another name
    if get and not here:
        beside = encoder_of(get) if what == "model" else ""
        return f"{shown} is not there: download {get.told(root_of, own_encoder=what != 'model')}{beside}"
    every = join_some([*OWN.get(what, ()), *known], 8)
    return f"{shown} is not there: {nearest_of(name, known, here)}the choices are {every}"


def nearest_of(name: str, known: Mapping[str, object], here: list[str]) -> str:
    """What may have been meant, in front of the list of choices: one of them, first those that are `here`, or a model
    that is not there either."""
    near = here or get_close_matches(name, [*known, *(get.name for get in REPOSITORIES)], 1)
    if not near:
        return ""
    source = "" if near[0] in known else f" ({published(near[0]).source}, which is not there either)"
    return f"the nearest name is {near[0]!r}{source}; "


def encoder_of(model: Repository) -> str:
    """What is to be had beside a model whose authors load another text encoder, where that is not there either."""
    get = published(model.text_encoder) if model.text_encoder else None
    return f", and {get.told(root_of)}" if get and get.name not in host.text_encoders() else ""


def root_of(kind: str) -> Path:
    """The folder that new files of a kind are put into."""
    return next((root for _, root, _ in host._search_paths((kind,))), Path("models") / kind)


def lying(name: str) -> Path | None:
    """What lies under this name in any of the folders."""
    for kind, root, _ in host._search_paths(KINDS):
        for path in (root / part for part in (name, name.removeprefix(f"{kind}/")) if is_plain(part)):
            if is_file(path) or is_hf_layout(path) or is_file(path / "config.json"):
                return path
    cached = folders.cached_in(host._search_paths(KINDS))
    return cached.get(readable(name)) or next((path for one, path in cached.items() if name.endswith(f"/{one}")), None)


def is_plain(name: str) -> bool:
    return bool(name) and can_be_shown(name, "") and not leads_out(name)


def listed_as(path: Path, known: Mapping[str, object]) -> str:
    """The choice that leads to the same place, or to one around it, whatever links do; nothing where none does."""
    place = Path(os.path.realpath(path))
    for name, source in known.items():
        if not source or source in BUILT_IN:
            continue
        if (there := Path(os.path.realpath(source))) == place:
            return repr(name)
        if there in place.parents:
            return f"a part of {name!r}"
    return ""


def mistaken(path: Path, what: str) -> str:
    """Of a model or a part of one, what it is and what to do with it; nothing for a model that is listed elsewhere."""
    if is_hf_layout(path) and str(path) not in host.bundles().values():
        return "a whole model: put it into models/mgt"
    part = remembered(path)
    return next(
        (
            f"{called}: {put if what == kind else f'choose it as {kind}'}"
            for kind, registry, called, put in PARTS
            if part.is_of(registry)
        ),
        "",
    )


def sentence(told: Foreign) -> str:
    return f"{told.what}, which is no MGT: {told.advice}" if told.readable else f"{told.what}: {told.advice}"

"""Networks that score pictures for a prompt: where the host has their files, and under its memory management."""

from pathlib import Path

from ..mgt_core.errors import MGTError, lookup
from ..mgt_core.rewards.clip_pair import Pair
from ..mgt_core.rewards.scorers import SCORERS, load_scorer
from . import host
from .fingerprints import fingerprint

FOLDERS = ("clip_vision", host.FOLDER, "text_encoders", "clip", "diffusers")  # the first is where new ones belong


class AmongOthers(host.ManagedPlacement):
    """For what works in the middle of a run: networks of ours that are on the device stay there."""

    def _patchers(self) -> list:
        loaded = host._comfy("comfy.model_management").loaded_models()
        ours = (one for one in loaded if isinstance(getattr(one, "model", None), host.MGTNetwork))
        return [self._patcher, *(one for one in ours if one is not self._patcher)]


def roots() -> list[Path]:
    return [path for _, path, _ in host._search_paths(FOLDERS)]


def missing(name: str) -> None:
    """Raises MGTError with what a scorer lacks, before anything is read."""
    if told := lookup("scorer", name, SCORERS).lacking(*roots()):
        raise MGTError(f"{name} {told}")


def changes(name: str) -> str:
    """Another text once its files are others."""
    scorer = SCORERS.get(name)
    found = scorer.repository.find(*roots()) if scorer else None
    return fingerprint(*map(str, (found or {}).values()))


def load(name: str) -> Pair:
    """Raises MGTError where it is not there, or cannot be read."""
    if not host._comfy("comfy.model_management"):
        return load_scorer(name, *roots())
    device, rest = host._devices("model")
    pair = load_scorer(name, *roots(), device=rest)
    pair.placement = AmongOthers(pair.network, device, rest)
    return pair

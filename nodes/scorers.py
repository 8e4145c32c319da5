"""Networks that score pictures for a prompt: where the host has their files, and under its memory management."""

from pathlib import Path

from ..mgt_core.errors import MGTError, lookup
from ..mgt_core.rewards.clip_pair import Pair
from ..mgt_core.rewards.scorers import SCORERS, load_scorer
from . import host, host_graph
from .fingerprints import fingerprint

FOLDERS = ("clip_vision", host.FOLDER, "text_encoders", "clip", "diffusers")  # the first is where new ones belong


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
    pair = load_scorer(name, *roots())
    pair.placement = host_graph.among_others(pair.network) or pair.placement
    return pair

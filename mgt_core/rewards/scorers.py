"""Published networks that score a picture for a prompt, and where their files lie."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from ..errors import MGTError, lookup
from .clip_pair import ClipPair, HPSPair, Pair
from .repository import Repository

CLIP_FILES = ("config.json", "model.safetensors|pytorch_model.bin", "vocab.json", "merges.txt")
HPS_WEIGHTS = "HPS_v2.1_compressed.pt"


@dataclass(frozen=True)
class Scorer:
    """A published network that scores a picture for a prompt. packages: what it imports, by the name under which that
    is installed. open: it, of its files."""

    repository: Repository
    packages: Mapping[str, str]
    open: Callable[[Mapping[str, Path], torch.device], Pair]

    def lacking(self, *roots: Path) -> str:
        """What is not there and what to do, to be read after its name; nothing where it can work."""
        if absent := [package for module, package in self.packages.items() if find_spec(module) is None]:
            return f"needs the package {' and '.join(absent)}: pip install {' '.join(absent)}"
        if self.repository.find(*roots) is None:
            return f"is not there: put {self.repository.advice(roots[0])}"
        return ""

    def load(self, name: str, *roots: Path, device: torch.device) -> Pair:
        """Raises MGTError where it lacks something or cannot be read, calling it `name`."""
        if told := self.lacking(*roots):
            raise MGTError(f"{name} {told}")
        return self.open(self.repository.find(*roots), device)


def clip_repository(name: str) -> Repository:
    return Repository(name, CLIP_FILES)


def clip_pair(files: Mapping[str, Path], device: torch.device) -> ClipPair:
    return ClipPair(files["config.json"].parent, device)


CLIP_LARGE = clip_repository("openai/clip-vit-large-patch14")
PICK_SCORE = clip_repository("yuvalkirstain/PickScore_v1")
HPS_V2 = Repository("xswu/HPSv2", (HPS_WEIGHTS,))
SCORERS: Mapping[str, Scorer] = {
    "CLIP ViT-L/14": Scorer(CLIP_LARGE, {"transformers": "transformers"}, clip_pair),
    "PickScore": Scorer(PICK_SCORE, {"transformers": "transformers"}, clip_pair),
    "HPSv2.1": Scorer(
        HPS_V2, {"open_clip": "open-clip-torch"}, lambda files, device: HPSPair(files[HPS_WEIGHTS], device)
    ),
}


def load_scorer(name: str, *roots: Path | str, device: torch.device | None = None) -> Pair:
    """The networks of a published scorer ("CLIP ViT-L/14", "PickScore", "HPSv2.1") whose folder lies below one of
    `roots` or in Hugging Face's cache. Raises MGTError where it is not there, and says what to download."""
    places = [Path(root) for root in roots] or [Path()]
    return lookup("scorer", name, SCORERS).load(name, *places, device=device or torch.device("cpu"))

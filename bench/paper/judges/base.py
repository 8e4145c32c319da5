"""What a judge is, and where its files lie."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from mgt_core.errors import MGTError
from mgt_core.registry import Registry

from ...files import sampled_hash
from ..prompts import Prompt

JUDGES: Registry[type["Judge"]] = Registry("judge")


@dataclass(frozen=True)
class Repository:
    """Files of a repository on Hugging Face that a judge reads; "a|b" means either."""

    name: str
    files: tuple[str, ...]

    @property
    def usual(self) -> str:
        """What its folder is called."""
        return self.name.rpartition("/")[2]

    def find(self, root: Path) -> dict[str, Path] | None:
        """Its files: in a folder of its own below `root`, else in Hugging Face's cache. None where one is missing."""
        for place in (lambda name: root / self.usual / name, self.cached):
            found = {wanted: file for wanted in self.files if (file := first(map(place, wanted.split("|"))))}
            if len(found) == len(self.files):
                return found
        return None

    def cached(self, file: str) -> Path | None:
        if find_spec("huggingface_hub") is None:
            return None
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.name, file)
        return Path(path) if isinstance(path, str) else None

    def folder(self, root: Path) -> Path:
        return next(iter(self.find(root).values())).parent

    def advice(self, root: Path) -> str:
        names = ", ".join(name.replace("|", " or ") for name in self.files)
        return f"{names} of {self.name} on Hugging Face in {root / self.usual}"


class Judge(ABC):
    """Tells how good pictures are. title: what figures call it. unit: of its scores. packages: what it imports, by the
    name under which that is installed. asks: whether prompts must say what is to be seen (Prompt.asked). revision: one
    more whenever the same weights come to score otherwise, so that scores from before are not mixed with new ones."""

    title: ClassVar[str]
    unit: ClassVar[str]
    packages: ClassVar[Mapping[str, str]]
    repositories: ClassVar[tuple[Repository, ...]]
    asks: ClassVar[bool] = False
    revision: ClassVar[int] = 0

    @abstractmethod
    def __init__(self, root: Path, device: torch.device):
        """Loads what lies below `root`. Raises MGTError for weights that do not fit."""

    @abstractmethod
    def score(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Tensor:
        """[N] float on the CPU, more being better, of N pictures and the prompt of each."""


def first(paths) -> Path | None:
    return next((path for path in paths if path is not None and path.is_file()), None)


def lacking(name: str, root: Path, prompts: Sequence[Prompt] = ()) -> str | None:
    """What the judge `name` lacks in this process, in a sentence; None where it can work. Raises MGTError for a judge
    that there is not."""
    kind = JUDGES.get(name)
    if packages := [package for module, package in kind.packages.items() if find_spec(module) is None]:
        return (
            f"the judge {name} needs the package {' and '.join(packages)} (pip install {' '.join(packages)}); install "
            f"it, or name a Python that has it by --judge-python {name}=PATH"
        )
    return unfound(name, root) or unasked(name, prompts)


def unfound(name: str, root: Path) -> str | None:
    """The files of the judge `name` that this process does not find."""
    if missing := [repository for repository in JUDGES.get(name).repositories if repository.find(root) is None]:
        wanted = ", and ".join(repository.advice(root) for repository in missing)
        return f"the judge {name} needs {wanted}; put it there, or name another folder by --judge-dir"
    return None


def unasked(name: str, prompts: Sequence[Prompt]) -> str | None:
    """What the prompts lack for the judge `name`."""
    if JUDGES.get(name).asks and not all(prompt.asked for prompt in prompts):
        return f"the judge {name} needs prompts that say what is to be seen; give --prompts geneval:N"
    return None


def weights_of(name: str, root: Path) -> str:
    """What tells the judge's weights from others. Raises MGTError where they cannot be found."""
    files = {}
    for repository in JUDGES.get(name).repositories:
        if (found := repository.find(root)) is None:
            raise MGTError(f"the judge {name} needs {repository.advice(root)}")
        files |= {f"{repository.name}/{wanted}": file for wanted, file in found.items()}
    return sampled_hash(files)


def checked(what: str, scores: Tensor, count: int) -> Tensor:
    """[N] float32 on the CPU. Raises MGTError unless there is a finite score for each picture."""
    scores = scores.detach().float().cpu()
    if scores.shape != (count,) or not bool(scores.isfinite().all()):
        raise MGTError(f"the judge {what} gave {scores.tolist()[:3]} for {count} pictures; its weights are not usable")
    return scores

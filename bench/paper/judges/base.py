"""What a judge is, and where its files lie."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from mgt_core.errors import MGTError
from mgt_core.registry import Registry
from mgt_core.rewards.base import checked_scores
from mgt_core.rewards.repository import Repository

from ...files import sampled_hash
from ..prompts import Prompt

JUDGES: Registry[type["Judge"]] = Registry("judge")


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
    return checked_scores(f"the judge {what}", scores, count)

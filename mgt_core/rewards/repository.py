"""Files of a repository on Hugging Face, in a folder of its name or in the cache."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..loading.disk import is_file


@dataclass(frozen=True)
class Repository:
    """Files of a repository on Hugging Face; "a|b" means either."""

    name: str
    files: tuple[str, ...]

    @property
    def usual(self) -> str:
        """What its folder is called."""
        return self.name.rpartition("/")[2]

    def find(self, *roots: Path) -> dict[str, Path] | None:
        """Its files: in a folder of its own below one of `roots`, else in Hugging Face's cache. None where one is
        missing."""
        for place in (*(self.within(root) for root in roots), self.cached):
            found = {wanted: file for wanted in self.files if (file := first(map(place, wanted.split("|"))))}
            if len(found) == len(self.files):
                return found
        return None

    def within(self, root: Path) -> Callable[[str], Path]:
        return lambda name: root / self.usual / name

    def cached(self, file: str) -> Path | None:
        if find_spec("huggingface_hub") is None:
            return None
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.name, file)
        return Path(path) if isinstance(path, str) else None

    def folder(self, *roots: Path) -> Path:
        return next(iter(self.find(*roots).values())).parent

    def advice(self, root: Path) -> str:
        names = ", ".join(name.replace("|", " or ") for name in self.files)
        return f"{names} of {self.name} on Hugging Face in {root / self.usual}"


def first(paths) -> Path | None:
    return next((path for path in paths if path is not None and is_file(path)), None)

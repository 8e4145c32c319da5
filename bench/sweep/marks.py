"""What tells the weights of a sweep from others that lie at the same place at another time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mgt_core.errors import MGTError
from mgt_core.loading.endings import SUFFIXES

from ..files import sampled_hash

READ = (*SUFFIXES, ".json", ".model", ".spm")  # what loading reads of a folder: weights, configs, tokenizers,
WORDS = ("merges.txt", "vocab.txt")  # and no other texts
LARGEST_FOLDER = 100_000  # files and folders, which take a second to list; bundles have tens


def weights_mark(sources: Mapping[str, Path]) -> str:
    """Of what loading reads of a model and of parts from elsewhere. sources: where they lie, by what they are."""
    return sampled_hash({f"{what}/{name}": file for what, path in sources.items() for name, file in read_of(path)})


def read_of(source: Path) -> Iterator[tuple[str, Path]]:
    """Files that loading may read, by their names below a folder; a weight file has its configs beside it."""
    if source.is_file():
        own = [file for file in source.parent.glob("*.json") if file.name.startswith(f"{source.stem}.")]
        yield from ((file.name, file) for file in {source, *own})
        return
    for number, file in enumerate(source.rglob("*")):
        if number == LARGEST_FOLDER:
            raise MGTError(f"{source} holds more than {LARGEST_FOLDER} files; give the folder of one model alone")
        name = file.relative_to(source)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and (file.suffix in READ or file.name in WORDS) and file.is_file():
            yield name.as_posix(), file

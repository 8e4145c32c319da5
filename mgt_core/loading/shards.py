"""Which files of a folder hold its weights: one, or the shards of one, with or without an index that names them.

A library that saves weights in a type or form of their own calls that a variant, and writes its name (fp16, ema) before
or behind the numbers of shards, and before or behind ".index": all of them are read. Plain ones come first."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import MGTError, join_some
from .disk import is_file, read_json
from .endings import SUFFIXES, UNFINISHED
from .listing import files_in, is_listing, once

log = logging.getLogger(__name__)

MAX_SHARDS = 1000  # the largest published models have about 200
PLAIN = ("model", "pytorch_model", "diffusion_pytorch_model")  # what transformers and diffusers call their files
NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<variant>\.[^.]+)?")


@dataclass(frozen=True)
class Shard:
    """whole: what the file would be called that holds all of them. names: of all of them, before and behind a number of
    so many digits. number: from 1 on; some programs count from 0."""

    file: Path
    whole: str
    names: tuple[str, str, int]
    number: int
    count: int

    @property
    def of(self) -> tuple:
        """The same of all that belong together."""
        return self.names, self.count


def shard_of(file: Path) -> Shard | None:
    """What a name says; None for a file that is no shard, or the only one."""
    found = NUMBERED.fullmatch(file.name.removesuffix(file.suffix))
    if not found or int(found["count"]) < 2:
        return None
    whole = f"{found['stem']}{found['variant'] or ''}{file.suffix}"
    names = file.name[: found.start("number")], file.name[found.end("number") :], len(found["number"])
    return Shard(file, whole, names, int(found["number"]), int(found["count"]))


def told_of_shard(file: Path) -> tuple[str, str] | None:
    """What one shard is, and what to do; None for a file that is none."""
    if (shard := shard_of(file)) is None:
        return None
    missing = missing_of(sets_in(file.parent).get(shard.of, [shard]))
    also = f", once it holds {join_some(missing)} too" if missing else ""
    return f"one of {shard.count} shards, which are read together", f"choose their folder, {file.parent}{also}"


@once
def sets_in(folder: Path) -> dict[tuple, list[Shard]]:
    """Those that belong together, by what they have in common."""
    sets: dict[tuple, list[Shard]] = {}
    for shard in filter(None, map(shard_of, files_in(folder, *SUFFIXES))):
        sets.setdefault(shard.of, []).append(shard)
    return sets


class Lacking(MGTError):
    """Not all shards are there."""


@dataclass(frozen=True)
class Choice:
    """Files that would be read. whole: what one file with all of it would be called. kind: of what is called the same,
    an index comes first, shards without one second. problem: why they cannot be read."""

    whole: str
    files: list[Path]
    kind: int = 2
    problem: MGTError | None = None

    def order(self) -> tuple:
        """Plain ones first, then variants (model.fp16.safetensors, model.ema.safetensors) and other files, those in
        another library's format (open_clip_pytorch_model.bin) included."""
        stem = self.whole.split(".")[0]
        return self.whole.count("."), stem not in PLAIN, self.kind, not stem.endswith("model"), self.whole

    @property
    def is_usual(self) -> bool:
        return self.whole.split(".")[0] in PLAIN and self.problem is None


def weight_files(folder: Path) -> list[Path]:
    """The files to read: of the first type there, the plainest. Where some of its shards are missing, others of the
    usual names are. Raises MGTError where there are none, and for an index that cannot be followed."""
    first, *others = choices_in(folder)
    if first.problem is None:
        return first.files
    instead = next((choice for choice in others if choice.is_usual), None)
    if instead is None or not isinstance(first.problem, Lacking):
        raise first.problem
    if not is_listing():
        log.warning("%s; %s is read instead", first.problem, join_some(file.name for file in instead.files))
    return instead.files


def choices_in(folder: Path) -> list[Choice]:
    """Best first."""
    found = []
    for suffix in SUFFIXES:
        indexes = [index for index in files_in(folder, ".json") if f"{suffix}.index." in index.name]
        files = files_in(folder, suffix)
        sets = [held for held in sets_in(folder).values() if held[0].file.suffix == suffix]
        choices = [of_index(index, suffix) for index in indexes] + [of_shards(folder, held) for held in sets]
        choices += [Choice(file.name, [file]) for file in files if shard_of(file) is None]
        found += sorted(choices, key=Choice.order)
    if not found:
        raise MGTError(f"{folder} holds no weights{unfinished(folder)}; expected a file of type {', '.join(SUFFIXES)}")
    return found


def of_index(index: Path, suffix: str) -> Choice:
    stem, _, variant = index.name.removesuffix("json").partition(f"{suffix}.index.")
    whole = f"{stem}{variant and '.'}{variant.removesuffix('.')}{suffix}"
    try:
        return Choice(whole, shards_of(index, suffix), 0)
    except MGTError as error:
        return Choice(whole, [], 0, error)


def of_shards(folder: Path, held: list[Shard]) -> Choice:
    problem = None
    if (count := held[0].count) > MAX_SHARDS:
        problem = MGTError(f"{held[0].file} is one of {count} shards; accepted are up to {MAX_SHARDS}")
    elif missing := missing_of(held):
        problem = lacking(folder, missing, count)
    return Choice(held[0].whole, [shard.file for shard in held], 1, problem)


def missing_of(held: list[Shard]) -> list[str]:
    """Names of the shards that belong to those that there are."""
    (before, behind, digits), numbers = held[0].names, {shard.number for shard in held}
    first = 0 if 0 in numbers else 1
    wanted = range(first, first + min(held[0].count, MAX_SHARDS))
    return [f"{before}{number:0{digits}}{behind}" for number in wanted if number not in numbers]


def lacking(folder: Path, missing: list[str], count: int) -> Lacking:
    return Lacking(f"{folder} lacks {len(missing)} of {count} shards: {join_some(missing)}{unfinished(folder)}")


def unfinished(folder: Path) -> str:
    """What to say beside of downloads that have not ended."""
    left = files_in(folder, *UNFINISHED)
    return f" (the download {left[0].name} has not ended)" if left else ""


def shards_of(index: Path, suffix: str) -> list[Path]:
    """The files of a sharded model. Raises MGTError where one is missing, or lies elsewhere."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise MGTError(f"{index} has no weight_map from tensors to files")
    names = sorted(set(weight_map.values()))
    if len(names) > MAX_SHARDS:
        raise MGTError(f"{index} names {len(names)} shards; accepted are up to {MAX_SHARDS}")
    if outside := [name for name in names if not name.endswith(suffix) or leads_out(name)]:
        raise MGTError(
            f"{index} names {join_some(map(repr, outside))}; expected names of {suffix} files beside it, or below"
        )
    files = [index.parent / name for name in names]
    if missing := [file.name for file in files if not is_file(file)]:
        raise lacking(index.parent, missing, len(files))
    return files


def leads_out(name: str) -> bool:
    """Whether a name in an index may lead out of the folder: "..", or what begins at a root or a drive."""
    return name.startswith("/") or ".." in name.split("/") or not set(name).isdisjoint("\\:")

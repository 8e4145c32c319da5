"""Prompts from where the user has them: HPDv2's benchmark, GenEval's, or any file. Nothing is downloaded.

The first N of a set are those of any larger N, in the same order, so that a run can be extended.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from mgt_core.errors import MGTError, join_some, reason
from mgt_core.loading.disk import text_of
from mgt_core.plain import lines_of, whole_text

STYLES = ("anime", "concept-art", "paintings", "photo")
METADATA = "evaluation_metadata.jsonl"
Reader = Callable[[Path], list["Prompt"]]


@dataclass(frozen=True)
class Prompt:
    """group: the style or task it belongs to. asked: what GenEval's metadata say is to be seen."""

    text: str
    group: str = ""
    asked: dict | None = None


def read_prompts(wanted: str, folder: Path) -> list[Prompt]:
    """`hpsv2:N`, `geneval:N` or `FILE:N`; all without a number. folder: where the files of the named sets lie.

    Raises MGTError for a file that is missing, with what to get and from where, and for one that holds fewer.
    """
    name, _, count = wanted.rpartition(":")
    if not count.isdigit() or not name:
        name, count = wanted, ""
    prompts = SETS[name](folder) if name in SETS else of_file(Path(name).expanduser())
    if count and not 1 <= int(count) <= len(prompts):
        raise MGTError(f"{name} holds {len(prompts)} prompts, and {count} were asked for; accepted are 1 to that many")
    return prompts[: int(count)] if count else prompts


def hpsv2(folder: Path) -> list[Prompt]:
    """HPDv2's benchmark (arXiv 2306.09341): 800 prompts in each of four styles, the styles taking turns."""
    advice = (
        "get benchmark/anime.json, concept-art.json, paintings.json and photo.json of the data set zhwang/HPDv2 (or "
        "ymhao/HPDv2) on Hugging Face"
    )
    files = [located(folder, f"{style}.json", "benchmark", advice) for style in STYLES]
    return in_turns([Prompt(text, file.stem) for text in texts(file)] for file in files)


def geneval(folder: Path) -> list[Prompt]:
    """GenEval (arXiv 2310.11513): 553 prompts of six tasks, the tasks taking turns."""
    advice = f"get prompts/{METADATA} of github.com/djghosh13/geneval"
    groups: dict[str, list[Prompt]] = {}
    for prompt in of_file(located(folder, METADATA, "prompts", advice)):
        groups.setdefault(prompt.group, []).append(prompt)
    return in_turns(groups.values())


SETS: dict[str, Reader] = {"hpsv2": hpsv2, "geneval": geneval}


def located(folder: Path, name: str, below: str, advice: str) -> Path:
    """The file in the folder, or in the one below it that is called as in its repository."""
    for file in (folder / name, folder / below / name):
        if file.is_file():
            return file
    raise MGTError(f"there is no {name} in {folder}: {advice} and put them there, or name their folder by --prompt-dir")


def in_turns(groups: Iterable[list[Prompt]]) -> list[Prompt]:
    return [prompt for prompt in chain(*zip_longest(*groups)) if prompt is not None]


def of_file(file: Path) -> list[Prompt]:
    """Of a text file with a prompt a line, a JSON list of prompts or of objects with a `prompt`, or such objects a
    line."""
    held = content(file)
    lines = [line for line in lines_of(held) if line.strip()]
    try:
        if file.suffix == ".json":
            entries = json.loads(held)
        else:
            entries = [json.loads(line) if file.suffix == ".jsonl" else line.strip() for line in lines]
    except ValueError as error:
        raise MGTError(f"the prompts {file} are not valid JSON ({reason(error)})") from None
    found = [prompt_from(entry) for entry in entries] if isinstance(entries, list) else []
    if not found or None in found:
        raise MGTError(f"{file} holds no list of prompts; expected texts, or objects with a text `prompt`")
    return found


def texts(file: Path) -> list[str]:
    return [prompt.text for prompt in of_file(file)]


def content(file: Path) -> str:
    try:
        return text_of(file.read_bytes())
    except (OSError, ValueError):
        names = join_some([*SETS, "a .txt, .json or .jsonl file"], len(SETS) + 1)
        raise MGTError(f"the prompts {file} cannot be read; accepted are {names}, each with :N for so many") from None


def prompt_from(entry) -> Prompt | None:
    if isinstance(entry, str):
        return Prompt(whole_text(entry))
    if isinstance(entry, dict) and isinstance(entry.get("prompt"), str):
        return Prompt(whole_text(entry["prompt"]), str(entry.get("tag", "")), entry if "include" in entry else None)
    return None

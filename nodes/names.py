"""Names that new models are saved under: those under which they are listed afterwards, on every system."""

import os
import re
from pathlib import Path

from ..mgt_core.errors import MGTError, shown_text
from ..mgt_core.loading.layouts import BUILT_IN, is_hf_layout, loose_bundles
from ..mgt_core.loading.listing import can_be_shown
from .folders import BRANCH_FOLDER, FOLDER

LONGEST_PART = 200  # bytes: file systems take 255, and what is being written has a longer name
PRESET_FOLDER = "presets"  # below FOLDER and in the pack
FOREIGN = re.compile(r'[<>:"|?*\\]')  # no file of Windows has them in its name
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # nor is one called so
EXPECTED = f"expected the name of a new folder in models/{FOLDER}, such as my-model or small/my-model"


def new_bundle(root: Path, name: str, depth: int) -> Path:
    """Where a new bundle of this name goes below `root`, which is searched so many levels down.

    Raises MGTError for a name under which it would not be listed, here or where it is copied to."""
    if fault := fault_of(name, depth) or fault_of_place(root, name):
        raise MGTError(f"name is {shown_text(repr(name), 80)}, {fault}; {EXPECTED}")
    return root / name


def fault_of(name: str, depth: int) -> str:
    """What is wrong with a name wherever it is; nothing where it can be used."""
    parts = name.split("/") if isinstance(name, str) else []
    if not all(part.strip(". ") for part in parts) or not parts:
        return "which names no folder, or leads elsewhere"
    if any(part.startswith(".") for part in parts):
        return "part of which begins with a dot, which hides it"
    if len(parts) > depth:
        return f"{len(parts)} levels deep, and only {depth} are searched"
    if any(len(part.encode("utf-8", "replace")) > LONGEST_PART for part in parts):
        return f"part of which is longer than {LONGEST_PART} bytes"
    if not can_be_shown(name, FOLDER) or FOREIGN.search(name):
        return "which holds characters that not every system takes"
    if any(part != part.strip() or part.endswith(".") or DEVICES.fullmatch(part) for part in parts):
        return "part of which ends as no name does on Windows, or is reserved there"
    if name.casefold() in BUILT_IN or parts[0].casefold() in (PRESET_FOLDER, BRANCH_FOLDER):
        return "which is taken by what comes with the pack"
    return ""


def fault_of_place(root: Path, name: str) -> str:
    """What is in the way of a name below `root`."""
    target = root / name
    for folder in list(target.parents)[name.count("/") :: -1]:
        if not os.path.lexists(folder):
            return ""
        try:
            os.scandir(folder).close()
        except OSError:
            return f"and {folder} is no folder that can be read"
        if folder != root and (is_hf_layout(folder) or any(map(Path.is_dir, loose_bundles(folder)))):
            return f"which lies inside the model {folder}"
    if os.path.lexists(target) and not is_hf_layout(target):
        return "which is there already and is no model"
    return ""

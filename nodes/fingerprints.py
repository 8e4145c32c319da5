"""What a host compares to tell whether a loader has to run again: another text once one of the files that it reads is
another. Sizes and times alone are looked at."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ..mgt_core.errors import MGTError
from ..mgt_core.loading.compose import text_beside
from ..mgt_core.loading.disk import is_dir, is_file
from ..mgt_core.loading.layouts import BUILT_IN, PARTS, find_parts, folder_of, is_hf_layout, remembered, state_of
from ..mgt_core.loading.listing import one_list
from . import host


@one_list()
def fingerprint(*sources: str | None) -> str:
    """Of what the library is given: names of built-in models, which stay as they are, and paths; nothing is told of
    where they lie, since hosts write it into pictures."""
    states = [
        state_of(path) for source in sources if source and source not in BUILT_IN for path in files_of(Path(source))
    ]
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]


def files_of(source: Path) -> Iterator[Path]:
    """Files, and folders of files, that loading a model or a part of one reads."""
    yield source
    home = folder_of(source)
    try:
        parts = find_parts(source, remembered)
        yield from sorted({part.path for part in parts} - {source})
        shelves = [root for _, root, _ in host._search_paths(host.TEXT_FOLDERS)]
        if parts[0].reads and (text := text_beside([home], parts[0].reads, shelves)):
            yield text
    except MGTError:  # a part alone
        pass
    if is_hf_layout(home):
        yield from (home / name for name in PARTS if is_dir(home / name))
        yield from (file for file in (home / "model_index.json",) if is_file(file) and home != source)

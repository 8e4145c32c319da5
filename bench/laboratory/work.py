"""Figures of every case, kept on disk case by case: a stop loses one, and several processes share the work."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from mgt_core import lab
from mgt_core.files import claimed, replace_file
from mgt_core.files import sweep as sweep_away

from ..files import sampled_hash
from ..kept import json_in, kept
from .measuring import measure
from .plan import Case

HERE = Path(__file__).parent
FIGURES = {"pictures", "passes", "steps", "seconds", "figures"}  # of every case
SETTING = [HERE / f"{name}.py" for name in ("choices", "decoders", "measuring", "plan", "settings")]


def setting_hash() -> str:
    """What tells these truths, errors, choices and measures from what they were before a change: their source."""
    files = [*SETTING, *Path(lab.__file__).parent.glob("*.py")]
    return sampled_hash({f"{file.parent.name}/{file.name}": file for file in files})


class Store:
    """A folder of finished cases. seed: of all their draws."""

    def __init__(self, root: Path, seed: int):
        self.folder, self.seed = root / f"{setting_hash()}-seed-{seed}", seed
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep_away(self.folder)

    def path(self, case: Case) -> Path:
        return self.folder / f"{hashlib.sha256(case.name.encode()).hexdigest()[:16]}.json"

    def read(self, case: Case, count: int) -> dict | None:
        """Its figures, where there are any of as many pictures."""
        found = kept(self.path(case), figures_in)
        return found if found and found["pictures"] == count else None

    def write(self, case: Case, figures: dict) -> None:
        replace_file(self.path(case), json.dumps(figures).encode())


def figures_in(file: Path) -> dict:
    """Raises ValueError for a file that holds none."""
    found = json_in(file)
    if not isinstance(found, dict) or not FIGURES <= found.keys() or not isinstance(found["figures"], dict):
        raise ValueError("it holds no figures of a case")
    return found


def seed_of(case: Case, seed: int) -> int:
    """Cases draw other numbers, so that their figures are independent."""
    return int(hashlib.sha256(f"{seed}/{case.name}".encode()).hexdigest()[:12], 16)


def work(
    wanted: Mapping[Case, int],
    store: Store,
    tell: Callable[[str], None] = lambda line: None,
    drawing: bool = True,
) -> dict[str, dict] | None:
    """Measure what no process has measured yet. wanted: pictures of every case. -> figures by the case's name, or None
    while others still work. drawing: False to look only at what is there."""
    for number, (case, count) in enumerate(wanted.items()):
        if store.read(case, count) is None and drawing:
            with claimed(store.path(case)) as mine:
                if mine and store.read(case, count) is None:
                    figures = measure(case, count, seed_of(case, store.seed))
                    store.write(case, figures)
                    tell(f"{number + 1} of {len(wanted)}: {case.name}, {figures['seconds']:.1f} s")
    found = {case.name: store.read(case, count) for case, count in wanted.items()}
    return None if None in found.values() else found

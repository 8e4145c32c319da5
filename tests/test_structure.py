"""How the files lie: tests where their subject lies, none of which imports another, and no file too long to read."""

import ast
from pathlib import Path

from support.pack import ROOT

TESTS = ROOT / "tests"
FOLDERS = ("mgt_core", "nodes", "runner", "bench", "recipe", "tests")
SOURCES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py")) if TESTS / "golden" not in p.parents]
MOST_LINES = 350
# Longer than that today, by at most so many lines. This may only shrink: split a file and take it out.
LONG = {
    "bench/sweep/__main__.py": 400,
    "mgt_core/backbones/meissonic/network.py": 525,
    "mgt_core/quantization/calibration.py": 388,
    "mgt_core/sampling/run.py": 494,
}
# Folders of tests that are of no part: shared, recorded, or in need of something that is not always there.
OTHERS = {"support", "golden", "saved_workflows", "host", "browser", "release"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it; relative ones begin with a dot."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def imports_tests(path: Path) -> bool:
    names = imported(path)
    parts = {part for name in names for part in name.split(".")[:-1]} | {name.split(".")[0] for name in names}
    if any(part.startswith("test_") or part in ("conftest", "tests") for part in parts):
        return True
    return TESTS / "support" not in path.parents and any(name.startswith(".") for name in names)


def test_no_test_file_imports_another():
    """What two of them need lies in tests/support, whose modules alone import each other relatively."""
    assert [name_of(path) for path in SOURCES if TESTS in path.parents and imports_tests(path)] == []


def test_no_file_is_long():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = {name: count for name, count in lines.items() if count > LONG.get(name, MOST_LINES)}
    assert long == {}, "split them by subject"


def test_tests_lie_where_their_subject_lies():
    """Each folder of tests has the name of one of the library or of the project, or of a module of the library."""
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    subjects = {path.stem for path in (ROOT / "mgt_core").iterdir()} | set(FOLDERS)
    assert folders - OTHERS <= subjects

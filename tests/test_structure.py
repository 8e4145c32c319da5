"""How the files lie: no circle of imports, no file too long to read, a small tree, tests where their subject lies."""

import ast
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from support.pack import ROOT

TESTS = ROOT / "tests"
FOLDERS = ("mgt_core", "nodes", "runner", "bench", "recipe", "tests")
SOURCES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py")) if TESTS / "golden" not in p.parents]
MOST_LINES = 350
MOST_BYTES = 58_000_000  # of all files that git holds, which every installation fetches
FREE_BYTES = 100_000  # of those, for the screenshots and the film, whose sizes change when they are made anew
# Folders of tests that are of no part: shared, recorded, or in need of something that is not always there.
OTHERS = {"support", "golden", "saved_workflows", "host", "browser", "release", "device", "fuzz"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it; relative ones begin with a dot."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = [node.module] if node.module else []
            found |= {"." * node.level + ".".join([*module, alias.name]) for alias in node.names}
    return found


def dotted(path: Path) -> str:
    """The name by which a file of the project is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(name: str, path: Path) -> str:
    """What a file means by a name that it imports."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parts = dotted(path).split(".") + ([""] if path.name == "__init__.py" else [])
    return ".".join([*parts[:-level], name[level:].lstrip(".")])


def module_graph(*folders: str) -> dict[str, set[str]]:
    """The modules of the project that each of them imports, at the top, in a function or for its types alone.

    What is imported from a package by the name of no module in it is of the package's own __init__."""
    files = {dotted(path): path for path in SOURCES if path.relative_to(ROOT).parts[0] in folders}
    graph = {}
    for module, path in files.items():
        named = {absolute(name, path) for name in imported(path)}
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in named} & files.keys() - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which imports, by way of the others, itself."""
    beyond = {module: set(known) for module, known in graph.items()}
    grows = True
    while grows:
        further = {module: known.union(*(beyond[other] for other in known)) for module, known in beyond.items()}
        grows, beyond = further != beyond, further
    found = {frozenset(other for other in known if module in beyond[other]) for module, known in beyond.items()}
    return [set(circle) for circle in found if circle]


def imports_tests(path: Path) -> bool:
    names = imported(path)
    parts = {part for name in names for part in name.split(".")[:-1]} | {name.split(".")[0] for name in names}
    if any(part.startswith("test_") or part in ("conftest", "tests") for part in parts):
        return True
    return TESTS / "support" not in path.parents and any(name.startswith(".") for name in names)


def test_no_circle_of_imports():
    """Nor by way of a package, whose __init__ imports nothing; the library's own does, and names them all."""
    graph = module_graph("mgt_core", "recipe", "bench", "runner")
    graph.pop("mgt_core")
    for known in graph.values():
        known.discard("mgt_core")
    assert circles(graph) == []
    packages = {dotted(path): path for path in SOURCES if path.name == "__init__.py" and "mgt_core" in path.parts}
    assert [name for name, path in packages.items() if name != "mgt_core" and imported(path)] == []


def test_the_library_does_not_import_its_own_top():
    """Which is made last, of all the others; and it knows nothing of the nodes, and of the recipe in one place only."""
    library = [path for path in SOURCES if "mgt_core" in path.parts[:-1] and path != ROOT / "mgt_core" / "__init__.py"]
    graph = module_graph(*FOLDERS)
    assert [name_of(path) for path in library if "mgt_core" in graph[dotted(path)]] == []
    above = {dotted(p): {m.split(".")[0] for m in graph[dotted(p)]} - {"mgt_core"} for p in library}
    assert {name: known for name, known in above.items() if known} == {"mgt_core.self_guidance.examples": {"recipe"}}


def test_a_circle_would_be_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [{"b", "c"}]


def test_no_test_file_imports_another():
    """What two of them need lies in tests/support, whose modules alone import each other relatively."""
    assert [name_of(path) for path in SOURCES if TESTS in path.parents and imports_tests(path)] == []


def test_no_file_is_long():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = {name: count for name, count in lines.items() if count > MOST_LINES}
    assert long == {}, "split them by subject"


def test_the_tree_is_small():
    """tests/golden/README.md says what of recorded numbers is worth its bytes."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    sizes = Counter()
    for file in files:
        sizes["/".join(file.relative_to(ROOT).parts[:2])] += file.lstat().st_size
    assert sizes.total() <= MOST_BYTES - FREE_BYTES, f"the largest: {sizes.most_common(5)}"


def test_tests_lie_where_their_subject_lies():
    """Each folder of tests has the name of one of the library or of the project, or of a module of the library."""
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    subjects = {path.stem for path in (ROOT / "mgt_core").iterdir()} | set(FOLDERS)
    assert folders - OTHERS <= subjects

"""What README and docs promise is there: links, pictures, and commands that would run."""

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest

import run_workflow
from runner.files import read_document
from runner.images import Folders
from runner.local import Library
from runner.titles import found
from support.pack import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKS = [
    pytest.param(page, target, id=f"{page.name}: {target}")
    for page in PAGES
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    if "://" not in target
]
RUNS = re.findall(r"^    \./mgt run (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_lead_somewhere(page, target):
    assert (page.parent / unquote(target)).exists()


@pytest.mark.parametrize("line", RUNS)
def test_commands_of_the_readme_are_valid(line, tmp_path):
    words = shlex.split(line)
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    library = Library.of_pack(Folders((tmp_path,), tmp_path))
    document = read_document(found(Path(words[0]), ROOT / "workflows"))
    prompt, _ = run_workflow.prepare(document, settings, library.object_info, custom=library.custom_check)
    assert prompt

"""What the pack gives the front end to run: small modules of its own that load nothing else, and that are shipped."""

import re
import subprocess

import pytest

from support.pack import ROOT

SCRIPTS = sorted((ROOT / "web").rglob("*.js"))
# What runs text as code, reaches other servers, or writes HTML of what it was told.
FORBIDDEN = (
    r"\beval\b|\bFunction\s*\(|\bimport\s*\(|https?://|\bfetch\s*\(|XMLHttpRequest|WebSocket|innerHTML"
    r"""|\bdocument\.(?!createElement\("(?:div|textarea)"\))"""
)
FRONT_END = "../../../scripts/app.js"
MOST_LINES = 130


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
class TestScript:
    def test_loads_and_runs_nothing_else(self, path):
        text = path.read_text(encoding="utf-8")
        code = re.sub(r"//[^\n]*", "", text.replace("http://", "http:").replace("https://", "https:"))
        assert re.findall(FORBIDDEN.replace("https?://", "https?:"), code) == []
        imported = re.findall(r"""\bfrom\s+["']([^"']+)["']""", code)
        assert all(name == FRONT_END or (path.parent / name).is_file() for name in imported), imported

    def test_is_small_and_says_why(self, path):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= MOST_LINES
        assert lines[0].startswith("// ")
        assert max(map(len, lines)) <= 120


def test_the_scripts_are_found():
    assert {path.stem for path in SCRIPTS} >= {"shown_for", "template_order", "error_sentence", "report"}


def test_the_registry_gets_them():
    """What is packed is what git holds but for .comfyignore, which names folders at the top."""
    left_out = (ROOT / ".comfyignore").read_text().split()
    assert not {"/web/", "/subgraphs/", "/locales/", "/workflows/"} & set(left_out)
    assert all(re.fullmatch(r"/[\w.]+/|\.\w+", line) for line in left_out), "patterns that could fit something inside"
    ignored = subprocess.run(["git", "check-ignore", "web/js", "subgraphs"], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout == ""

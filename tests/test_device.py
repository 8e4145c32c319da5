"""Every test that loads a model has it where MGT_DEVICE says, and the tolerances of a GPU do not reach the CPU."""

import ast
import os
import subprocess
import sys

import pytest
import torch

from support import device as where
from support.pack import ROOT

TESTS = ROOT / "tests"
PLACES = {"DEVICE", "HERE", "REFERENCE"}
# Functions that put networks somewhere.
LOADERS = {"load", "load_text_encoder", "load_backbone", "load_codec"}
# Files whose models lie where they say themselves, and why.
ELSEWHERE = {
    "tests/errors/test_calls.py": "asks for devices that are not there",
    "tests/host/test_reliability.py": "prepares files",
    "tests/sampling/test_cost.py": "estimates what a CPU takes",
    "tests/codecs/test_decode_formats.py": "tries on a CPU what a card computes",
    "tests/device/test_cleanliness.py": "compares a device that is not there with the CPU",
    "tests/device/test_captions.py": "likewise",
    "tests/device/test_parts.py": "likewise",
    "tests/device/test_apple.py": "likewise",
    "tests/bench/device/test_parts.py": "loads where it is told to",
    "tests/support/saved.py": "prepares files",
    **{
        f"tests/fuzz/{name}.py": "runs in a process that sees no GPU"
        for name in ("checkpoints", "loras", "kill_quantize", "kill_training")
    },
    "tests/bench/test_sweep.py": "asks for sizes, and compares with workers, which compute on the CPU",
}


def placed(call: ast.Call) -> bool:
    """Whether a call names a place of tests/support/device.py."""
    values = [keyword.value for keyword in call.keywords if keyword.arg in (None, "device")] + call.args
    return any(isinstance(node, ast.Name) and node.id in PLACES for value in values for node in ast.walk(value))


def loads(tree: ast.AST) -> list[ast.Call]:
    """Calls of the library's loaders: `mgt_core.load(…)`, and those imported by name."""
    named = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mgt_core")
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "mgt_core":
            found += [node] if called.attr in LOADERS else []
        elif isinstance(called, ast.Name) and called.id in LOADERS & named:
            found.append(node)
    return found


def unplaced(source: str) -> list[int]:
    return [call.lineno for call in loads(ast.parse(source)) if not placed(call)]


def test_every_model_is_loaded_where_the_suite_computes():
    files = [path for path in sorted(TESTS.rglob("*.py")) if TESTS / "golden" not in path.parents]
    found = {path.relative_to(ROOT).as_posix(): unplaced(path.read_text(encoding="utf-8")) for path in files}
    wrong = {name: lines for name, lines in found.items() if lines}
    assert {name: lines for name, lines in wrong.items() if name not in ELSEWHERE} == {}, "say **HERE or device=DEVICE"
    assert ELSEWHERE.keys() <= wrong.keys(), "take out of ELSEWHERE what has no reason any more"


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("mgt_core.load('demo')", True),
        ("mgt_core.load('demo', device='cpu')", True),
        ("mgt_core.load('demo', **HERE)", False),
        ("mgt_core.load('demo', dtype=torch.bfloat16, device=DEVICE)", False),
        (
            "from mgt_core.loading.networks import load_codec\nload_codec(file, torch.float32, torch.device('cpu'))",
            True,
        ),
        ("from mgt_core.loading.networks import load_codec\nload_codec(file, torch.float32, DEVICE)", False),
        ("json.load(file)", False),
    ],
)
def test_what_lies_elsewhere_would_be_seen(call, wrong):
    assert bool(unplaced(call)) == wrong


def test_a_device_that_is_not_there_is_one_sentence():
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_device.py"],
        env={**os.environ, "MGT_DEVICE": "cuda:99"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert told.returncode and "Traceback" not in told.stderr
    assert told.stderr.strip() == "MGT_DEVICE: device is 'cuda:99', which this machine does not offer; try 'cpu'"


# What counts as the same


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if the suite ran on a GPU, for what compares."""
    monkeypatch.setattr(where, "ON_CPU", False)


@pytest.mark.cpu_only("holds that a CPU is compared to the bit")
def test_on_a_cpu_the_same_is_the_same_to_the_bit():
    one = torch.ones(3)
    assert where.agree(one, one.clone()) and where.tolerance() == where.EXACT
    assert not where.agree(one, one.nextafter(torch.tensor(2.0)))
    assert not where.agree(torch.zeros(100).long(), torch.eye(100)[0].long())


def test_on_a_gpu_the_same_is_within_the_table(on_a_gpu):
    values, tokens = torch.linspace(-1, 4, 50), torch.arange(40)
    allowed = where.TOLERANCES[torch.float32]
    assert where.agree(values + 4 * 0.9 * allowed.values, values)
    assert not where.agree(values + 4 * 1.5 * allowed.values, values)
    assert not where.agree(torch.full((50,), float("nan")), values)
    few = int(allowed.cells * 40)
    for wrong in (few, few + 1):
        changed = tokens.clone()
        changed[:wrong] += 1
        assert where.agree(changed, tokens) == (wrong == few)
    assert not where.agree(tokens[1:], tokens) and not where.agree(tokens.int(), tokens)
    assert where.agree(values[:0], values[:0])


def test_exact_stays_exact_on_a_gpu(on_a_gpu):
    assert where.equal(torch.ones(3), torch.ones(3))
    assert not where.equal(torch.ones(3), torch.ones(3).nextafter(torch.tensor(2.0)))

"""What loading and running the built-in model leaves unimported: start-up is nearly all imports.

torch, transformers and diffusers are what is left, each by the module of the one class that is used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNNEEDED = {"comfy_kitchen", "matplotlib", "ray", "torchvision", "diffusers.pipelines", "transformers.pipelines"}
SAMPLE = """
import mgt_core
pipe = mgt_core.load("demo", device="cpu")
state = mgt_core.empty_tokens(pipe, 64, 64)
text = pipe.text.encode("a red heart"), pipe.text.encode("")
pipe.codec.decode(mgt_core.sample(pipe.model, state, *text, steps=2))
"""
WORKFLOW = """
import runpy
sys.argv = ["run_workflow.py", "workflows/text_to_image.json", "--quiet", "--output", {output!r}]
sys.argv += ["--set", "Prompt.text=a red heart", "--set", "MGTSample.steps=2"]
try:
    runpy.run_path("run_workflow.py", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


def imported(code: str) -> set[str]:
    """Modules that are there after the code ran in a process of its own."""
    code = f"import json, sys\n{code}\njson.dump(sorted(sys.modules), sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize("code", [SAMPLE, WORKFLOW], ids=["library", "run_workflow"])
def test_only_what_is_used_is_imported(code, tmp_path):
    there = imported(code.format(output=str(tmp_path)) if code is WORKFLOW else code)
    assert "diffusers" in there and not UNNEEDED & there

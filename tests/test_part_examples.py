"""The examples of docs/parts, each put where it says into a copy of the pack, are found and run."""

import ast
import shutil
import subprocess
import sys

import pytest

from support.golden import bundles
from support.pack import ROOT

EXAMPLES = sorted((ROOT / "docs" / "parts").glob("*.py"))
TRY = """
import importlib.util, sys
from pathlib import Path
import torch
from safetensors.torch import save_file

root, bundle = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(root))
import mgt_core
from mgt_core import MODIFIERS, PATCHES, SAMPLERS, SCHEDULES, CODECS, BACKBONES, SCHEMES

pipe = mgt_core.load(bundle, device="cpu")
positive, negative = pipe.text.encode(["a cat"]), pipe.text.encode([""])

def tokens(model=pipe.model, sampler="maskgit", schedule="cosine", steps=5, **options):
    state = mgt_core.empty_tokens(pipe, 64, 64)
    out = mgt_core.sample(model, state, positive, negative, sampler=sampler, schedule=schedule, steps=steps, cfg=3.0,
                          seed=2, **options)
    assert not out.masked.any()
    return out.tokens

plain = tokens()
circle = SCHEDULES.get("circle")()
assert circle.counts(4, 100)[-1] == 0 and not torch.equal(tokens(schedule="circle"), plain)
assert not torch.equal(tokens(sampler="halton", order="columns"), tokens(sampler="halton", order="raster"))
for registry, name in ((MODIFIERS, "sharpen"), (PATCHES, "step_reuse")):
    kind = registry.get(name)
    assert torch.equal(tokens(pipe.model.with_part(kind(**kind.neutral))), plain), name
    model = pipe.model.with_part(kind())
    assert not torch.equal(tokens(model), plain) and model.attached() == [repr(kind())], name
kind = SAMPLERS.get("second_thoughts")
assert torch.equal(tokens(sampler=kind(**kind.neutral)), plain) and not torch.equal(tokens(sampler=kind()), plain)
symmetry = mgt_core.REWARDS.get("symmetry")()
face = torch.rand(2, 4, 3, 3)
face = torch.cat([face, face.flip(2)], 2)
assert torch.equal(symmetry.score(face, [0, 1]), torch.ones(2))
assert float(symmetry.score(face[:, :, 1:], [0, 1]).max()) < 1
packed = mgt_core.quantize_pipeline(pipe, "w4a16_fine").model
assert repr(packed.quantization).startswith("W4A16Fine") and tokens(packed).shape == plain.shape

folder = root / "classes"
folder.mkdir()
bigram = BACKBONES.get("bigram")
with torch.random.fork_rng():
    network = bigram(bigram.config_class(codebook_size=6, num_classes=3, width=8, cells=16))
save_file(network.state_dict(), folder / "network.safetensors")
save_file({"quantize.embedding.weight": torch.rand(6, 48)}, folder / "codec.safetensors")
pipe = mgt_core.load(folder / "network.safetensors", device="cpu")
assert isinstance(pipe.model.network, bigram) and isinstance(pipe.codec, CODECS.get("tiles"))
state = mgt_core.empty_tokens(pipe, 16, 16)
drawn = mgt_core.sample(pipe.model, state, mgt_core.Condition(labels=torch.tensor([2])), steps=4, cfg=1.0)
image = pipe.codec.decode(drawn)
assert image.shape == (1, 16, 16, 3) and torch.equal(pipe.codec.encode(image), drawn.tokens)

spec = importlib.util.spec_from_file_location("pack", root / "__init__.py", submodule_search_locations=[str(root)])
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
nodes = pack.NODE_CLASS_MAPPINGS
assert "circle" in nodes["MGTMaskSchedule"].INPUT_TYPES()["required"]["schedule"][0]
assert "columns" in nodes["MGTSamplerHalton"].INPUT_TYPES()["required"]["order"][0]
widgets = nodes["MGTSharpen"].INPUT_TYPES()["required"]
assert list(widgets) == ["model", "factor", "start", "end"] and widgets["factor"][1]["max"] == 10.0
assert nodes["MGTStepReuse"].INPUT_TYPES()["required"]["every"][1]["default"] == 2
(sampler,) = nodes["MGTSamplerSecondThoughts"]().make(2.0, 0.0, temperature_shape="linear", doubt=0.25)
assert sampler.doubt == 0.25
print("all found")
"""


def place(example) -> str:
    """Where an example lies, as the first line of its docstring says."""
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8")))
    return next(word.strip(":.") for word in docstring.split() if word.strip(":.").endswith(".py"))


@pytest.fixture
def pack_with_examples(tmp_path):
    copy = tmp_path / "pack"
    for name in ("mgt_core", "nodes", "presets"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(ROOT / "__init__.py", copy)
    for example in EXAMPLES:
        target = copy / place(example)
        text = example.read_text(encoding="utf-8")
        if target.is_file():  # the example of one more in a file that has others
            body = text.split("\n\n\n", 1)[1]
            text = target.read_text(encoding="utf-8") + "\n\n" + body
        target.write_text(text, encoding="utf-8")
    return copy


def test_every_example_works_where_it_says(pack_with_examples):
    run = subprocess.run(
        [sys.executable, "-c", TRY, str(pack_with_examples), str(bundles()[0])],
        capture_output=True,
        text=True,
        cwd=pack_with_examples,
    )
    assert run.stdout.strip() == "all found", run.stderr


def test_every_kind_of_part_has_an_example():
    """Named in the development page too."""
    kinds = {path.stem for path in EXAMPLES}
    assert kinds == {
        *("schedule", "sampler", "modifier", "patch", "order", "backbone", "codec", "reward", "scheme", "node"),
    }
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    assert all(f"parts/{kind}.py" in page for kind in kinds)

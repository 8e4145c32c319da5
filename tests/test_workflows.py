"""Every workflow file runs in this process: with the built-in model, and with a tiny one in its place."""

import json
import sys
from dataclasses import replace
from functools import partial

import numpy
import pytest
from PIL import Image

import mgt_core
from run_workflow import prepare, to_api
from runner.files import read_document
from runner.images import Folders
from runner.local import Library, execute
from runner.sounds import read_sound
from runner.specs import widget_slots
from support.device import HERE
from support.golden import bundles
from support.loras import low_rank_pairs, save_diffusers
from support.pack import ALIAS, ROOT, load_pack
from support.stand_ins import STAND_INS, TEXT_ENCODERS, make_scorers, make_stand_ins, make_text_encoders
from support.workflow_files import SAVED, WORKFLOWS, name, shortened, workflow

DEMO = ROOT / "mgt_core" / "demo" / "model"
BYPASS, MUTED = 4, 2
MAGNET = "magnet-medium-10secs"
SAVING = ("SaveImage", "PreviewImage", "SaveAudio", "PreviewAudio")
PATCHES = {name for name, cls in load_pack().NODE_CLASS_MAPPINGS.items() if cls.CATEGORY == "MGT/patches"}
ALL_CHOICES = workflow("all_choices")
JOINED = PATCHES & {node["type"] for node in json.loads(ALL_CHOICES.read_text())["nodes"]}
OF_MEISSONIC = [p for p in WORKFLOWS if '"Meissonic"' in p.read_text() and '"muddit/' not in p.read_text()]
SOCKETS = ("MGT_", "CONDITIONING", "IMAGE", "MASK")
# What older files hold: fewer widgets and outputs than the nodes have now.
AFTER_SEEDS = {("MGTSample", 1), ("MGTSCQCalibrate", 10)}  # what the front end does with one is no value of the node
SHORTER = {"MGTMaskSchedule": 1, "MGTSamplerMaskGIT": 2, "MGTDecode": 0, "MGTLoadModel": 2}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """What the names of published models lead to."""
    return make_stand_ins(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def text_encoders(tmp_path_factory):
    """What the names of published text encoders lead to."""
    return make_text_encoders(tmp_path_factory.mktemp("text_encoders"))


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    """A folder of networks that score pictures."""
    make_scorers(folder := tmp_path_factory.mktemp("clip_vision"))
    return folder


@pytest.fixture(scope="module", params=["tiny", "demo"])
def built_in(request, stand_ins, text_encoders, scorers):
    """Where the name 'demo' leads."""
    if request.param == "demo" and not DEMO.is_dir():
        pytest.skip(f"the built-in model is not in {DEMO.relative_to(ROOT)}")
    host = sys.modules[f"{ALIAS}.nodes.host"]
    demo, sound = (str(bundles()[0]), stand_ins[MAGNET]) if request.param == "tiny" else ("demo", "demo-sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "bundles", lambda: {"demo": demo, "demo-sound": sound, **stand_ins})
        patch.setattr(host, "text_encoders", lambda: {**text_encoders, **host.lenders("text_encoder")})
        patch.setattr(sys.modules[f"{ALIAS}.nodes.scorers"], "roots", lambda: [scorers])
        yield request.param


def saved(path, output):
    """Pictures that a short run of the workflow leaves."""
    document = read_document(path)
    document = replace(document, ui=shortened(document.ui))
    library = Library.of_pack(Folders((ROOT / "workflows",), output))
    prompt, graph = prepare(document, [], library.object_info, custom=library.custom_check)
    return execute(prompt, library, graph)


def node_kinds(path):
    return {node["type"] for node in json.loads(path.read_text())["nodes"]}


def pixels(path):
    with Image.open(path) as picture:
        return numpy.asarray(picture.convert("RGB")).astype(int)


def held(file):
    """Pixels of a picture, samples of a sound."""
    return pixels(file) if file.suffix == ".png" else read_sound(file, file.name)[0].numpy()


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflow_runs(built_in, path, tmp_path):
    if built_in == "demo" and '"demo' not in path.read_text():
        pytest.skip("names another model, which the tiny pass has run")
    files = saved(path, tmp_path)
    nodes = json.loads(path.read_text())["nodes"]
    ends = [n for n in nodes if n["type"] in SAVING]
    (prompts,) = [n["widgets_values"][0].splitlines() for n in nodes if n["type"] == "MGTPromptBatch"] or [[""]]
    assert len(files) == len(ends) * len(prompts) > 0
    assert all(numpy.ptp(held(file)) > 0 for file in files)


def test_a_picture_tells_the_settings_that_were_left_to_the_model(built_in, tmp_path):
    path = workflow("text_to_image")
    (sample,) = [node for node in json.loads(path.read_text())["nodes"] if node["type"] == "MGTSample"]
    assert sample["widgets_values"][2:] == [0, -1.0]
    (file,) = saved(path, tmp_path)
    with Image.open(file) as picture:
        told = json.loads(picture.text["mgt_settings"])
    held = told[str(sample["id"])]
    assert (held["steps"], held["cfg"]) == (2, 2.0 if built_in == "demo" else 9.0)  # steps are those of a short run
    assert f"temperature=({'0.5' if built_in == 'demo' else '2.0'}, 0.0)" in held["sampler"]


def rewired(path, tmp_path, change):
    """A copy of the workflow with `change` made to every node."""
    graph = json.loads(path.read_text())
    for node in graph["nodes"]:
        change(node)
    copy = tmp_path / path.name
    copy.write_text(json.dumps(graph))
    return copy


def as_before(node):
    if node["type"] in SHORTER:
        del node["widgets_values"][SHORTER[node["type"]] :]
    if node["type"] == "MGTSample":
        del node["outputs"][1:]


def test_older_files_run_as_before(built_in, tmp_path):
    path = workflow("text_to_image")
    (now,) = saved(path, tmp_path / "now")
    (before,) = saved(rewired(path, tmp_path, as_before), tmp_path / "before")
    assert (pixels(now) == pixels(before)).all()


@pytest.mark.parametrize("path", SAVED, ids=name)
def test_workflows_of_earlier_releases_open_and_run(stand_ins, object_info, tmp_path, path, monkeypatch):
    """Every value that was saved stands where it stood, and widgets added since are at their defaults."""
    monkeypatch.setattr(sys.modules[f"{ALIAS}.nodes.host"], "bundles", lambda: {"demo": str(bundles()[0]), **stand_ins})
    graph = json.loads(path.read_text())
    prompt = to_api(graph, object_info)
    for node in graph["nodes"]:
        if node["type"] not in object_info or node.get("mode") in (BYPASS, MUTED):
            continue
        declared = {k: v for part in object_info[node["type"]]["input"].values() for k, v in part.items()}
        widgets = [k for k, (kind, *_) in declared.items() if isinstance(kind, list) or not kind.startswith(SOCKETS)]
        widgets = [k for k in widgets if k in prompt[str(node["id"])]["inputs"]]
        stored = [v for i, v in enumerate(node["widgets_values"]) if (node["type"], i) not in AFTER_SEEDS]
        values = [prompt[str(node["id"])]["inputs"][k] for k in widgets]
        assert values[: len(stored)] == stored, node["type"]
        assert values[len(stored) :] == [declared[k][1]["default"] for k in widgets[len(stored) :]], node["type"]
    files = saved(path, tmp_path)
    assert files and all(numpy.ptp(pixels(file)) > 0 for file in files)


def sample_node(prompt, title):
    return next(n for n in prompt.values() if n["_meta"]["title"] == title)


@pytest.fixture(scope="module")
def object_info(tmp_path_factory):
    return Library.of_pack(Folders((), tmp_path_factory.mktemp("output"))).object_info


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_every_widget_has_its_value(object_info, path):
    """So that opening and saving a file changes nothing in it."""
    for node in json.loads(path.read_text())["nodes"]:
        if node["type"].startswith("MGT"):
            held = node.get("widgets_values") or []
            assert len(held) == len(list(widget_slots(object_info[node["type"]]))), node["type"]


@pytest.mark.parametrize("patch", sorted(JOINED))
def test_a_bypassed_patch_leaves_the_chain_whole(object_info, tmp_path, patch):
    def bypass(node):
        if node["type"] == patch:
            node["mode"] = BYPASS

    prompt = to_api(json.loads(rewired(ALL_CHOICES, tmp_path, bypass).read_text()), object_info)
    kinds, source = [], sample_node(prompt, "All choices")
    while source["class_type"] != "MGTLoadModel":
        source = prompt[source["inputs"]["model"][0]]
        kinds.append(source["class_type"])
    assert sorted(kinds[:-1]) == sorted(JOINED - {patch})


# Editing workflows compare runs that start from different tokens; others different prompts, encoders, all settings.
COMPARING = [p for p in WORKFLOWS if "MGTCompareGrid" in p.read_text()]
UNLIKE = {"MGTLoadTextEncoder", "MGTEncodeImage", "MGTVaryTokens", "ConditioningCombine", "MGTPreset"}
UNLIKE |= {"MGTEncodeAudio", "MGTMaskSound"}
COMPARING = [p for p in COMPARING if not UNLIKE & node_kinds(p)]


@pytest.mark.parametrize("path", COMPARING, ids=name)
def test_compared_runs_share_seed_prompts_and_tokens(path, object_info):
    runs = [n for n in to_api(json.loads(path.read_text()), object_info).values() if n["class_type"] == "MGTSample"]
    shared = ("seed", "cfg", "positive", "negative", "tokens")
    assert all(run["inputs"][key] == runs[0]["inputs"][key] for run in runs for key in shared)


@pytest.mark.parametrize("technique", ["noise_regularization", "differential_sampling", "entropy_temperature"])
def test_a_bypassed_technique_gives_vanilla(built_in, tmp_path, technique):
    def bypass(node):
        if node["type"] in PATCHES:
            node["mode"] = BYPASS
        elif node["type"] == "MGTCompareGrid":
            node["widgets_values"][0] = "same\nsame"

    (sheet,) = saved(rewired(workflow(technique), tmp_path, bypass), tmp_path / "out")
    picture = pixels(sheet)
    half = (picture.shape[1] - 4) // 2
    assert (picture[:, :half] == picture[:, half + 4 :]).all()


@pytest.mark.parametrize(
    "path",
    [p for p in WORKFLOWS if not {"MGTLaboratoryModel"} & node_kinds(p) and '"demo' not in p.read_text()],
    ids=name,
)
def test_other_models_say_where_they_come_from(path):
    """ComfyUI offers what `properties.models` names: a file for models/<directory>."""
    nodes = json.loads(path.read_text())["nodes"]
    (loader,) = [n for n in nodes if n["type"] == "MGTLoadModel"]
    assert loader["widgets_values"][0] in STAND_INS and loader["properties"]["models"]
    for model in [model for node in nodes for model in node["properties"].get("models", [])]:
        assert model.keys() == {"name", "url", "directory"} and model["directory"] in ("mgt", "text_encoders")
        assert model["url"].startswith("https://huggingface.co/")
        # A file that lies alone is named after its repository.
        parts, file = model["url"].split("/"), model["name"].split("/")[-1]
        assert parts[-1] == file or f"{parts[4]}.safetensors" == file


@pytest.mark.parametrize("path", OF_MEISSONIC, ids=name)
def test_meissonic_is_run_with_the_text_encoder_of_its_authors(path):
    """inference.py of viiika/Meissonic loads laion's; the file that is picked is offered, of a type that the front end
    takes."""
    nodes = json.loads(path.read_text())["nodes"]
    (encoder,) = TEXT_ENCODERS
    assert any(encoder in node.get("widgets_values", []) for node in nodes)
    models = [model for node in nodes for model in node["properties"].get("models", [])]
    offered = [model["name"] for model in models]
    assert encoder in offered and not any(name.endswith(".json") for name in offered)


def test_lora_changes_its_half_of_the_sheet(built_in, tmp_path, monkeypatch):
    """The workflow with a LoRA made for the model at hand."""
    host = sys.modules[f"{ALIAS}.nodes.host"]
    network = mgt_core.load(host.bundles()["demo"], **HERE).model.network
    file = save_diffusers(tmp_path / "style.safetensors", low_rank_pairs(network), alpha=8)
    monkeypatch.setattr(host, "loras", lambda: {file.name: str(file)})

    def pick(node, lora=file.name):
        if node["type"] == "MGTLoadLoRA":
            node["widgets_values"][0] = lora
        elif node["type"] == "MGTCompareGrid":
            node["widgets_values"][0] = "same\nsame"

    path = workflow("lora")
    (without,) = saved(rewired(path, tmp_path, partial(pick, lora="none")), tmp_path / "without")
    (sheet,) = saved(rewired(path, tmp_path, pick), tmp_path / "with")
    before, after = pixels(without), pixels(sheet)
    half = (after.shape[1] - 4) // 2
    assert (before[:, :half] == before[:, half + 4 :]).all()
    assert (after[:, :half] == before[:, :half]).all()
    assert (after[:, half + 4 :] != before[:, half + 4 :]).any()

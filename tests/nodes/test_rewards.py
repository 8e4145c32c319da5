"""Nodes of rewards: what they make, and what is said of what is not there."""

import sys

import pytest
import torch

from mgt_core import MGTError
from mgt_core.rewards.colour import ColourAgreement
from mgt_core.rewards.mask import MaskAgreement
from mgt_core.rewards.measures import measures
from support.device import DEVICE
from support.fake_comfy import FakeComfy, FakeFolderPaths
from support.judges import clip_judge, pick_judge
from support.node_runs import NODES, run
from support.pack import ALIAS

PICTURES = torch.rand(2, 24, 32, 3, generator=torch.Generator().manual_seed(0))
MASK = (torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(1)) > 0.5).float()
host_graph = sys.modules[f"{ALIAS}.nodes.host_graph"]


def test_colour_and_mask():
    (colour,) = run("MGTRewardColour", colour="#00ff00", where="object", lightness=0.5, mask=MASK)
    assert colour == ColourAgreement("#00ff00", "object", 0.5) and torch.equal(colour.mask, MASK)
    assert run("MGTRewardColour")[0] == ColourAgreement()
    (mask,) = run("MGTRewardMask", mask=MASK)
    assert mask == MaskAgreement(MASK) and torch.equal(mask.mask, MASK)
    assert "colour is 'sort of blue'" in NODES["MGTRewardColour"].VALIDATE_INPUTS(colour="sort of blue")


def test_a_sum_of_those_that_are_wired():
    (red,), (place,) = run("MGTRewardColour"), run("MGTRewardMask", mask=MASK)
    (total,) = run("MGTRewardSum", reward_1=red, weight_1=2.0, reward_4=place, weight_4=-1.0)
    expected = 2 * red.score(PICTURES, [0, 1]) - place.score(PICTURES, [0, 1])
    torch.testing.assert_close(total.score(PICTURES, [0, 1]), expected)
    with pytest.raises(MGTError, match="reward_2 is a number; expected a reward, as MGT Colour Reward gives"):
        run("MGTRewardSum", reward_1=red, weight_1=1.0, reward_2=3)


def test_statistics_of_known_pictures():
    half = torch.zeros(1, 8, 8, 3)
    half[:, :, 4:] = 1
    brightness, contrast, saturation, sharpness = run("MGTPictureStatistics", image=half)
    assert (brightness, contrast, saturation) == pytest.approx((0.5, 0.5, 0))
    assert sharpness == pytest.approx(0.5)  # of 8 columns two hold edges, of height 1: the root of 2 / 8
    red = torch.tensor([1.0, 0, 0]).expand(2, 4, 4, 3)
    assert run("MGTPictureStatistics", image=red) == pytest.approx((0.2126, 0, 1, 0))
    right = torch.zeros(1, 8, 8)
    right[:, :, 5:] = 1
    assert run("MGTPictureStatistics", image=half, mask=right) == pytest.approx((1, 0, 0, 0), abs=1e-6)
    assert run("MGTPictureStatistics", image=half, mask=torch.zeros(1, 8, 8)) == (0, 0, 0, 0)
    board = (torch.arange(64).reshape(1, 8, 8, 1) + torch.arange(8)[:, None, None]) % 2
    assert measures(board.expand(1, 8, 8, 3).float()[:, 1:-1, 1:-1]).sharpness == pytest.approx(4, rel=0.3)


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, clip_vision=[tmp_path / "clip_vision"]))
    return tmp_path


def test_a_scorer_that_is_not_there_is_one_sentence_before_anything_runs(models):
    told = NODES["MGTRewardPrompt"].VALIDATE_INPUTS(scorer="PickScore")
    place = models / "clip_vision" / "PickScore_v1"
    assert "PickScore is not there: put config.json" in told and f"Hugging Face in {place}" in told and "\n" not in told
    assert NODES["MGTRewardPrompt"].VALIDATE_INPUTS() is True
    assert "scorer is 'BLIP', but the known ones are" in NODES["MGTRewardPrompt"].VALIDATE_INPUTS(scorer="BLIP")
    with pytest.raises(MGTError, match="PickScore is not there"):
        run("MGTRewardPrompt", scorer="PickScore", prompt="a dog", one_a_line=False)


def test_prompts_by_networks_in_the_hosts_folders(models):
    node = NODES["MGTRewardPrompt"]
    nothing = node.IS_CHANGED(scorer="PickScore")
    pick_judge(models / "clip_vision"), clip_judge(models / "mgt")
    assert node.VALIDATE_INPUTS(scorer="PickScore") is True and node.VALIDATE_INPUTS(scorer="CLIP ViT-L/14") is True
    assert node.IS_CHANGED(scorer="PickScore") != nothing
    (one,) = run("MGTRewardPrompt", scorer="PickScore", prompt="a dog\na sun", one_a_line=False)
    assert (one.prompts, one.unit) == (("a dog\na sun",), "logit")
    (each,) = run("MGTRewardPrompt", scorer="CLIP ViT-L/14", prompt="a dog\n\na sun\n", one_a_line=True)
    assert (each.prompts, each.unit) == (("a dog", "a sun"), "cosine")
    assert each.score(PICTURES, [1, 0]).isfinite().all()
    with pytest.raises(MGTError, match="prompt has no line with a text"):
        run("MGTRewardPrompt", scorer="PickScore", prompt="\n", one_a_line=True)


def test_the_host_keeps_the_network_of_the_run_where_it_is(models, monkeypatch):
    comfy = FakeComfy(monkeypatch)
    pick_judge(models / "clip_vision")
    (reward,) = run("MGTRewardPrompt", scorer="PickScore", prompt="a dog", one_a_line=False)
    management = sys.modules["comfy.model_management"]
    running = sys.modules["comfy.model_patcher"].ModelPatcher(
        sys.modules[f"{ALIAS}.nodes.host"].MGTNetwork(torch.nn.Linear(2, 2)), DEVICE, torch.device("cpu")
    )
    foreign = sys.modules["comfy.model_patcher"].ModelPatcher(torch.nn.Linear(2, 2), DEVICE, torch.device("cpu"))
    monkeypatch.setattr(management, "loaded_models", lambda: [running, foreign], raising=False)
    reward.score(PICTURES, [0, 0])
    assert comfy.loads and all(names == ["CLIPModel", "Linear"] for names in comfy.loads)


def test_classes_of_nodes_are_those_of_the_runner_or_of_the_host():
    with pytest.raises(MGTError, match="there is no node of the class Nowhere here"):
        host_graph.node_class("Nowhere")
    with host_graph.classes_from({"Nowhere": int}):
        assert host_graph.node_class("Nowhere") is int

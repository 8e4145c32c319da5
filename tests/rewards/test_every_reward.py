"""What holds of every reward in the registry: a number for each picture, whatever stands beside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core import MGTError
from mgt_core.registry import REWARDS
from mgt_core.rewards.base import Reward
from mgt_core.rewards.scorers import load_scorer
from support.judges import clip_judge

IMAGES = 3


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    """Of every kind one that wants something else of each of three images."""
    root = tmp_path_factory.mktemp("scorers")
    clip_judge(root)
    masks = (torch.rand(IMAGES, 12, 10, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    colour = REWARDS.get("colour")("teal", "object", 0.5, mask=masks)
    made = {
        "colour": colour,
        "mask": REWARDS.get("mask")(masks),
        "measured": REWARDS.get("measured")(lambda picture, image: picture.mean() * (image + 1)),
        "prompt": REWARDS.get("prompt")(load_scorer("CLIP ViT-L/14", root), ["a dog", "sun", "a red heart"], "logit"),
        "weighted_sum": REWARDS.get("weighted_sum")(((colour, 2.0), (REWARDS.get("mask")(masks), -0.5))),
    }
    assert made.keys() == set(REWARDS), "make one of every reward here"
    return made


@pytest.mark.parametrize("name", list(REWARDS))
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.tuples(st.integers(2, 24), st.integers(2, 24)))
def test_a_picture_scores_alone_as_among_others(rewards, name, seed, size):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(4, *size, 3, generator=generator)
    images = torch.randint(IMAGES, (4,), generator=generator).tolist()
    before = pictures.clone()
    scores = rewards[name].score(pictures, images)
    assert scores.shape == (4,) and scores.dtype == torch.float32 and bool(scores.isfinite().all())
    assert torch.equal(pictures, before)
    alone = torch.cat([rewards[name].score(pictures[i : i + 1], images[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(scores, alone, rtol=1e-4, atol=1e-4)


def test_each_is_a_reward_that_changes_nothing_by_itself(rewards):
    assert all(isinstance(each, Reward) and each.neutral is None for each in rewards.values())


def test_a_sum_is_the_sum_of_its_parts(rewards):
    pictures, images = torch.rand(4, 20, 24, 3), [0, 1, 2, 0]
    parts = [rewards[name].score(pictures, images) for name in ("colour", "mask", "measured")]
    kind = REWARDS.get("weighted_sum")
    weighed = [(rewards["colour"], 2), (rewards["mask"], -0.5), (rewards["measured"], 1.0)]
    found = kind(weighed).score(pictures, images)
    torch.testing.assert_close(found, 2 * parts[0] - 0.5 * parts[1] + parts[2])

    def fails(picture, image):
        raise AssertionError("is asked")

    unasked = REWARDS.get("measured")(fails)
    assert torch.equal(kind(((rewards["mask"], 1.0), (unasked, 0))).score(pictures, images), parts[1])
    assert kind(((unasked, 0),)).score(pictures, images).tolist() == [0] * 4


@pytest.mark.parametrize("parts", [(), None, "colour", [1], [(1, 2)], [("colour", 1.0)]])
def test_a_sum_of_no_rewards_is_one_sentence(parts):
    with pytest.raises(MGTError, match="parts .*; expected pairs of a reward and its weight"):
        REWARDS.get("weighted_sum")(parts)


def test_weights_are_finite(rewards):
    with pytest.raises(MGTError, match="weight is nan; accepted are numbers from -1000"):
        REWARDS.get("weighted_sum")([(rewards["mask"], float("nan"))])


@pytest.mark.parametrize("value", [float("nan"), "much", None, torch.rand(2), float("inf")])
def test_a_measure_that_is_no_number_is_one_sentence(value):
    reward = REWARDS.get("measured")(lambda picture, image: value, "sharpness")
    with pytest.raises(MGTError, match="sharpness is .*; accepted are numbers"):
        reward.score(torch.rand(1, 4, 4, 3), [0])


def test_a_measure_is_handed_a_picture_and_its_image():
    seen = []
    reward = REWARDS.get("measured")(lambda picture, image: seen.append((tuple(picture.shape), image)) or True)
    assert reward.score(torch.rand(2, 4, 6, 3), [5, 1]).tolist() == [1, 1]
    assert seen == [((1, 4, 6, 3), 5), ((1, 4, 6, 3), 1)]
    with pytest.raises(MGTError, match="function is 3"):
        REWARDS.get("measured")(3)

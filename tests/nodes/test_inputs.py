"""What comes to a node's sockets from anywhere: taken, or refused in one sentence that names the input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from support.golden import bundles, pipeline
from support.node_runs import NODES, run
from support.trials import is_sentence

NAN, INF = float("nan"), float("inf")
PICTURE = torch.rand(1, 16, 16, 3)


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


@pytest.fixture(scope="module")
def text(pipe):
    return run("MGTTextEncode", text="a cat", text_encoder=pipe.text)[0]


def refuses(sentence: str, name: str, **inputs):
    with pytest.raises(MGTError, match=sentence) as told:
        run(name, **inputs)
    assert is_sentence(str(told.value))


IMAGES = {
    "a text": ("picture", "is a text; expected pictures"),
    "one picture": (PICTURE[0], r"has shape \[16, 16, 3\]"),
    "one channel": (PICTURE[..., :1], r"has shape \[1, 16, 16, 1\]"),
    "none": (PICTURE[:0], r"has shape \[0, 16, 16, 3\]"),
    "bytes": (PICTURE.byte(), "is torch.uint8"),
    "complex": (PICTURE.to(torch.complex64), "is torch.complex64"),
    "sparse": (PICTURE.to_sparse(), "is torch.sparse_coo"),
    "without values": (PICTURE.to("meta"), "is without values"),
    "NaN": (PICTURE * NAN, "is not finite"),
    "infinite": (PICTURE.index_fill(0, torch.tensor([0]), -INF), "is not finite"),
    "levels of 8 bits": (PICTURE * 255, "holds values from .* expected 0 to 1: as of 8 bits, for which divide by 255"),
    "from -1": (
        PICTURE * 2 - 1,
        "holds values from -.* expected 0 to 1: as of -1 to 1, for which add 1 and divide by 2",
    ),
    "a view of one number": (torch.zeros(1, 1, 1, 1).expand(2**12, 2**14, 2**14, 3), "has shape"),
}


@pytest.mark.parametrize("image, sentence", IMAGES.values(), ids=IMAGES)
def test_pictures(pipe, image, sentence):
    refuses(f"image {sentence}", "MGTEncodeImage", model=pipe.model, codec=pipe.codec, image=image)


NO_MASKS = [None, PICTURE, torch.zeros(0, 8, 8), torch.full((8, 8), NAN), torch.zeros(8, 8) * 1j]
OF_OTHER_RANGES = [torch.full((8, 8), 255.0), torch.full((8, 8), 255, dtype=torch.uint8), torch.full((8, 8), -1.0)]


@pytest.mark.parametrize("mask", NO_MASKS + OF_OTHER_RANGES)
def test_masks(pipe, mask):
    refuses("mask (is|has|holds values)", "MGTMaskTokens", tokens=mgt_core.empty_tokens(pipe, 16, 16), mask=mask)


@pytest.mark.parametrize("mask", [torch.ones(16, 16).bool(), torch.ones(1, 16, 16).byte(), torch.ones(1, 5, 3).half()])
def test_masks_of_other_kinds_of_numbers(pipe, mask):
    assert run("MGTMaskTokens", tokens=mgt_core.empty_tokens(pipe, 16, 16), mask=mask)[0].masked.all()


OTHER_KINDS = {
    "half": lambda image: image.half(),
    "bfloat16": lambda image: image.bfloat16(),
    "float64": lambda image: image.double(),
    "channels first in memory": lambda image: image.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
    "every second row": lambda image: torch.stack([image, image], 2).flatten(1, 2)[:, ::2],
    "alpha": lambda image: torch.cat([image, torch.ones_like(image[..., :1])], -1),
    "gradients": lambda image: image.clone().requires_grad_(),
    "overshoot": lambda image: torch.where(image == image.max(), 1.3, image),
}


@pytest.mark.parametrize("change", OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_pictures_of_other_kinds_of_numbers(pipe, change):
    """Read as what they hold; a float of 16 bits may move a token that lies between two codes."""
    level = (PICTURE * 8).round() / 8  # what every type of numbers holds exactly
    given = {"model": pipe.model, "codec": pipe.codec}
    own = run("MGTEncodeImage", **given, image=change(level).clamp(0, 1))[0].tokens
    assert torch.equal(run("MGTEncodeImage", **given, image=change(level))[0].tokens, own)
    assert torch.equal(own, run("MGTEncodeImage", **given, image=level)[0].tokens)
    assert run("MGTCompareGrid", image_1=change(level))[0].shape[0] == 1


@pytest.mark.parametrize("value", [NAN, INF, 1e308, -1, 2**64, True, "3", None, [1], 10**400])
def test_numbers(pipe, value):
    refuses("steps is", "MGTPlotSchedule", schedule_1=mgt_core.SCHEDULES.get("cosine")(), steps=value)
    refuses("strength is", "MGTEncodeImage", model=pipe.model, codec=pipe.codec, image=PICTURE, strength=value)


@pytest.mark.parametrize("value", [None, 3, b"cat", ["cat"], "\ud800", "x" * 100_001])
def test_texts(pipe, value):
    refuses("text is", "MGTTextEncode", text=value, text_encoder=pipe.text)


def test_wrong_wires(pipe, text):
    for name in NODES:
        if "MGT_MODEL" in [kind for kind, *_ in NODES[name].INPUT_TYPES()["required"].values()]:
            refuses("model is a text; expected the model of MGT Load Model", name, model="demo")
    refuses("codec is a text encoder", "MGTDecode", tokens=mgt_core.empty_tokens(pipe, 16, 16), codec=pipe.text)
    refuses("tokens are a list", "MGTDecode", tokens=text, codec=pipe.codec)
    refuses("branch is a model", "MGTSelfGuidance", model=pipe.model, branch=pipe.model)


def test_a_text_encoder_that_was_not_loaded():
    refuses("no text encoder was loaded", "MGTTextEncode", text="a cat", text_encoder=None)


def test_numbers_of_numpy_are_numbers(pipe):
    tokens = run("MGTEmptyTokens", model=pipe.model, width=np.int64(16), height=np.int32(16), batch_size=np.int64(1))
    assert tokens[0].tokens.shape[0] == 1


CONDITIONINGS = {
    "no list": (lambda hidden, extra: (hidden, extra), "is a list; expected conditioning"),
    "empty": (lambda hidden, extra: [], "is empty"),
    "no settings": (lambda hidden, extra: [[hidden]], "is a list of other things"),
    "three": (lambda hidden, extra: [[hidden, extra, 1]], "is a list of other things"),
    "settings of none": (lambda hidden, extra: [[hidden, None]], "is a list of other things"),
    "no states": (lambda hidden, extra: [[None, extra]], "holds nothing"),
    "states without values": (lambda hidden, extra: [[hidden.to("meta"), extra]], "without values"),
    "pooled a text": (lambda hidden, extra: [[hidden, {"pooled_output": "cat"}]], "pooled of str"),
    "micro-conditions": (
        lambda hidden, extra: [[hidden, {**extra, "mgt_micro": (1, 2)}]],
        "micro-conditions that are a list",
    ),
    "labels": (lambda hidden, extra: [[hidden, {**extra, "mgt_labels": "cat"}]], "classes that are none"),
    "area of two": (lambda hidden, extra: [[hidden, {**extra, "area": (1, 2)}]], "area of 1 dimensions"),
    "area a text": (lambda hidden, extra: [[hidden, {**extra, "area": "all"}]], "area of str"),
    "area of NaN": (lambda hidden, extra: [[hidden, {**extra, "area": (NAN, 1, 1, 1)}]], "area of the positive"),
    "area outside": (lambda hidden, extra: [[hidden, {**extra, "area": (8, 8, -8, 0)}]], "area of the positive"),
    "mask a text": (lambda hidden, extra: [[hidden, {**extra, "mask": "all"}]], "mask of the positive conditioning"),
    "strength a text": (lambda hidden, extra: [[hidden, {**extra, "strength": "1"}]], "strength of the positive"),
    "start of NaN": (
        lambda hidden, extra: [[hidden, {**extra, "start_percent": NAN}]],
        "start_percent of the positive",
    ),
}


@pytest.mark.parametrize("change, sentence", CONDITIONINGS.values(), ids=CONDITIONINGS)
def test_conditionings(pipe, text, change, sentence):
    tokens = mgt_core.empty_tokens(pipe, 16, 16)
    refuses(sentence, "MGTSample", model=pipe.model, positive=change(*text[0]), negative=text, tokens=tokens, steps=1)


def test_tokens_that_are_none(pipe):
    state = mgt_core.empty_tokens(pipe, 16, 16)
    for changes, sentence in (
        ({"mask_id": 2**40}, "mask_id is"),
        ({"codebook_size": "64"}, "codebook_size is"),
        ({"revealed_at": torch.zeros(3)}, "revealed_at of a token state"),
        ({"confidence": [1]}, "confidence of a token state"),
    ):
        with pytest.raises(MGTError, match=sentence):
            replace(state, **changes)
    refuses(
        "holds no cell",
        "MGTDecode",
        tokens=replace(state, tokens=state.tokens[:0], fixed=state.fixed[:0]),
        codec=pipe.codec,
    )
    beyond = replace(state, tokens=state.tokens * 0 + 70)
    refuses("the code 70", "MGTDecode", tokens=beyond, codec=pipe.codec)


def test_limits_before_work(pipe):
    refuses("16,777,216 tokens in all", "MGTEmptyTokens", model=pipe.model, width=8192, height=8192, batch_size=4096)
    tokens, image = mgt_core.empty_tokens(pipe, 16, 16, 100), PICTURE.expand(100, 16, 16, 3)
    refuses(
        "16,777,216 tokens in all", "MGTPadTokens", model=pipe.model, tokens=tokens, image=image, left=8192, top=8192
    )
    refuses("5000 lines; 4096 are accepted", "MGTPromptBatch", prompts="a\n" * 5000, text_encoder=pipe.text)
    refuses("labels holds 5001 lines", "MGTClassLabel", label="0", more_labels="1\n" * 5000)
    wide = torch.zeros(1).expand(1, 8000, 8000, 3)
    refuses(
        "are 20 of 8004 x 8022 pixels; accepted are 1,073,741,824",
        "MGTCompareGrid",
        image_1=wide,
        image_2=PICTURE.expand(19, -1, -1, -1),
    )


def test_animations_that_no_memory_holds(pipe, monkeypatch):
    state = mgt_core.empty_tokens(pipe, 16, 16)
    filled = replace(state, tokens=state.tokens * 0, revealed_at=state.tokens * 0 + 2**40)
    refuses("the last step that the tokens carry is", "MGTSamplingAnimation", tokens=filled, codec=pipe.codec)
    filled = replace(filled, revealed_at=state.tokens * 0 + 3)
    monkeypatch.setattr("mgt_core.views.pictures.MOST_PIXELS", 16 * 16 * 16)
    refuses("the frames are 17 of 16 x 16 pixels", "MGTSamplingAnimation", tokens=filled, codec=pipe.codec)
    assert len(run("MGTSamplingAnimation", tokens=filled, codec=pipe.codec, hold_last=1.25)[0]) == 15


def test_a_label_of_many_digits():
    refuses("none of the 1,000 of ImageNet", "MGTClassLabel", label="9" * 5000)


def test_a_group_size_that_is_none(pipe):
    refuses("group_size is '3x'", "MGTSCQCalibrate", model=pipe.model, text_encoder=pipe.text, group_size="3x")


def test_a_label_as_long_as_a_text(pipe):
    assert run("MGTCompareGrid", image_1=PICTURE, labels="(" * 100_000)[0].shape[2] == 192

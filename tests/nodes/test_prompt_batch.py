"""Several prompts, one a line."""

import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from support.device import HERE
from support.golden import bundles
from support.pack import load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load(str(bundles()[0]), **HERE)


def test_each_line_is_encoded_as_it_is_alone(pipe):
    conditioning, count = NODES["MGTPromptBatch"]().encode(" a (red:1.3) heart\n\na star \n", pipe.text)
    assert count == 2
    ((hidden, extra),) = conditioning
    for place, line in enumerate(("a (red:1.3) heart", "a star")):
        (((alone, beside),),) = NODES["MGTTextEncode"]().encode(line, pipe.text)
        torch.testing.assert_close(hidden[place], alone[0])
        torch.testing.assert_close(extra["pooled_output"][place], beside["pooled_output"][0])


def test_a_line_ends_where_editors_end_it(pipe):
    """And not at other marks, which pages and chats leave in texts that are copied from them."""
    assert NODES["MGTPromptBatch"]().encode("a\u2028b\x0bc\x85d\u2029e\r\nf\rg\nh", pipe.text)[1] == 4


def test_half_a_character_is_replaced(pipe):
    halved = NODES["MGTPromptBatch"]().encode("a \ud83d heart", pipe.text)[0][0][0]
    assert torch.equal(halved, NODES["MGTPromptBatch"]().encode("a \ufffd heart", pipe.text)[0][0][0])


def test_no_prompt_is_said(pipe):
    with pytest.raises(MGTError, match="one prompt a line"):
        NODES["MGTPromptBatch"]().encode(" \n ", pipe.text)


def test_a_model_of_classes_is_said():
    with pytest.raises(MGTError, match="no text encoder"):
        NODES["MGTPromptBatch"]().encode("a star", None)

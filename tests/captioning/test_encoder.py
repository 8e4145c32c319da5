"""The text encoder with a masked word."""

import pytest
import torch
from transformers import CLIPTextModelWithProjection

from mgt_core.captioning.encoder import MaskedText, WithMask
from mgt_core.conditioning.clip import TOKENS
from support.device import DEVICE, equal
from support.golden import assert_near
from support.muddit import OWN_MUDDIT, muddit

TEXT = muddit("1024", OWN_MUDDIT).text
MASK = TEXT.network.config.vocab_size
ROW = torch.randn(TEXT.network.config.hidden_size, generator=torch.Generator().manual_seed(0)).to(DEVICE)


@torch.inference_mode()
def test_it_is_the_encoder_of_one_word_more():
    """Compared with transformers' own, whose table holds the row; also when asked again, and after other prompts."""
    config = type(TEXT.network.config).from_dict(TEXT.network.config.to_dict() | {"vocab_size": MASK + 1})
    wider = CLIPTextModelWithProjection(config).to(DEVICE).eval()
    held = TEXT.network.state_dict()
    wider.load_state_dict(held | {TOKENS: torch.cat([held[TOKENS], ROW[None]])}, strict=False)
    text = MaskedText(TEXT.network, ROW, MASK)
    ids = torch.randint(MASK + 1, (3, 77), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    ids[0], ids[1, 5:] = MASK, MASK
    for _ in range(2):
        hidden, pooled = text(ids)
        wanted = wider(ids, output_hidden_states=True)
        assert_near(hidden, wanted.hidden_states[-2])
        assert_near(pooled, wanted.text_embeds)
        TEXT.encode("two birds")


def test_prompts_are_read_as_before_whatever_happens():
    before = TEXT.encode("two birds")
    table = TEXT.network.get_submodule("text_model.embeddings").token_embedding
    with pytest.raises(RuntimeError, match="stop"), MaskedText(TEXT.network, ROW, MASK).masked_words():
        assert isinstance(TEXT.network.get_submodule("text_model.embeddings").token_embedding, WithMask)
        assert equal(TEXT.encode("two birds").hidden, before.hidden)
        raise RuntimeError("stop")
    assert TEXT.network.get_submodule("text_model.embeddings").token_embedding is table

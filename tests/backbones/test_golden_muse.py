"""Show-o and MMaDA against the published implementations: prompts, logits and whole runs."""

import pytest
import torch

import mgt_core
from mgt_core import Condition
from mgt_core.backbones.base import Backbone
from mgt_core.backbones.language.sequence import SquareBackbone
from mgt_core.types import NO_WORD
from support.golden import assert_near
from support.golden_muse import FAMILIES, muse, recorded, rerun, schedule

RUNS = [pytest.param(family, name, id=f"{family}/{name}") for family in FAMILIES for name in recorded(family, "")]


@pytest.fixture(params=FAMILIES)
def model(request):
    return muse(request.param)


def logits(model, prompt: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[B, N, K]; a sequence knows nothing of rows."""
    prepared = model.network.prepare(Condition(prompt=prompt), (1, tokens.shape[1]))
    time = torch.zeros(1, device=tokens.device)
    return model.network.head(model.network.features(tokens[:, None], time, prepared))[:, 0]


def test_golden_vocabulary(model):
    network, tiny = model.network, model.tiny
    assert (network.code_offset, network.codebook_size) == (tiny["image_token_offset"], tiny["codebook_size"])
    assert (network.mask_word, network.words) == (tiny["mask_token_id"], tiny["vocab_size"])
    assert network.around == (tiny["special_ids"]["<|soi|>"], tiny["special_ids"]["<|eoi|>"])
    assert network.tokenizer_length == tiny.get("llm_vocab_size", tiny.get("tokenizer_length"))


def test_golden_prompts(model):
    """One of them empty, and one cut."""
    texts, held = model.settings("prompts"), model.tensors("prompts")
    for name, prompts in (("ids", texts["prompts"]), ("uncond_ids", [""] * len(texts["prompts"]))):
        wanted, _ = model.split(held[name], texts["num_image_tokens"])
        for ids, prompt in zip(wanted, prompts, strict=True):
            assert model.text.encode(prompt).prompt[0].tolist() == ids[ids != NO_WORD].tolist()
    assert model.text.encode(texts["prompts"]).prompt.shape == wanted.shape  # filled up to the longest


def test_golden_logits(model):
    """Batches with the padding of their prompts, and each sequence without."""
    held = model.tensors("forward")
    cases = sorted({name.split(".")[0] for name in held})
    assert cases
    for case in cases:
        cells = int(case[1:])
        prompt, tokens = model.split(held[f"{case}.ids"], cells)
        wanted = held.get(f"{case}.logits", held.get(f"{case}.logits_image"))
        wanted = model.codes(wanted)[:, prompt.shape[1] + 1 : -1]
        assert_near(logits(model, prompt, tokens), wanted)
        for row in range(len(prompt)):
            words = prompt[row][prompt[row] != NO_WORD]
            assert_near(logits(model, words[None], tokens[row : row + 1]), wanted[row : row + 1])


@pytest.mark.parametrize("family, name", RUNS)
def test_golden_runs(family, name, monkeypatch):
    """To the token, at every step: text to image, and what is given in part. Some are of cells that make no square."""
    monkeypatch.setattr(SquareBackbone, "check_grid", Backbone.check_grid)
    ended, seen, tensors = rerun(muse(family), name)
    assert torch.equal(ended.tokens.flatten(1), tensors["final_codes"])
    assert seen
    for index, tokens in enumerate(seen):
        _, wanted = muse(family).split(tensors[f"step{index:02d}.ids_in"], tokens.shape[1])
        assert torch.equal(tokens, wanted), index


def test_golden_schedules():
    """Counts of other lengths than the runs have, before any limit; below 0 for a cosine that misses its end."""
    held = muse("show-o").settings("schedules")
    assert held
    for name, counts in held.items():
        kind, steps, cells = name.rsplit(".", 2)
        ours = schedule(kind).targets(int(steps[1:]), int(cells[1:]))
        assert ours == [max(count, 0) for count in counts], name


def test_known_cells_count():
    """As many cells are masked as of a whole picture, as far as there are any; one is revealed at every step."""
    model = muse("show-o").model
    state = mgt_core.empty_tokens(model, 64, 64)
    tokens = state.tokens.clone()
    tokens[:, :2] = 0
    state = mgt_core.TokenState(tokens, tokens != model.mask_id, model.mask_id, model.codebook_size)
    left = []
    condition = muse("show-o").text.encode("")
    mgt_core.sample(
        model, state, condition, condition, steps=4, callback=lambda step: left.append(int(step.result.masked.sum()))
    )
    assert left == [7, 6, 5, 0]  # 16 cos gives 14, 11 and 6 of 16 cells, of which 8 are masked

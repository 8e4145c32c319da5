"""Editing as the published pipelines do it, where they are right (see golden/meissonic/README.md, "edit")."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.sampling.run import Run
from support.device import agree
from support.golden import MEISSONIC, RecordedDraws, Spy, Trace, assert_near, assert_same_codes, label, run_of, settings

EDITS = sorted(path.with_suffix("") for path in MEISSONIC.glob("*/edit/*.json"))
IMG2IMG = [pytest.param(p, id=label(p)) for p in EDITS if p.name.startswith("img2img")]
INPAINT = [pytest.param(p, id=label(p)) for p in EDITS if p.name.startswith("inpaint")]
ALL = [pytest.param(p, id=label(p)) for p in EDITS]
# The pipeline wraps to the last timestep at strength 1 and masks nothing; ours starts from all masked.
RIGHT = [p for p in IMG2IMG if settings(p.values[0])["call"]["strength"] < 1]


class Edit(Trace):
    """A recorded run of an editing pipeline: the picture it was given, and its steps."""

    def __init__(self, path):
        super().__init__(path)
        self.strength = self.call["strength"]
        batch = len(self.prompts("prompt"))
        self.images = torch.stack([self[f"init.image_u8_{i}"] for i in range(batch)]).float() / 255

    def encoded(self) -> mgt_core.TokenState:
        return mgt_core.encode_image(self.pipe.model, self.pipe.codec, self.images, self.strength)

    def run(self, state: mgt_core.TokenState, draws: RecordedDraws, spy: Spy | None = None) -> Run:
        model = self.pipe.model if spy is None else self.pipe.model.with_modifier(spy)
        return run_of(self, model, state, self.sampler, draws)

    @property
    def sampler(self) -> mgt_core.MaskGIT:
        return mgt_core.MaskGIT(temperature=self.temperature)


def test_golden_tree_holds_edits():
    assert RIGHT and INPAINT and len(ALL) == len(IMG2IMG) + len(INPAINT)


@pytest.mark.parametrize("path", ALL)
def test_golden_encoding(path):
    """Preparation of the picture, latents and indices."""
    edit = Edit(path)
    torch.testing.assert_close(edit.images, edit["init.image_pt"].permute(0, 2, 3, 1), atol=1e-6, rtol=0)
    state = edit.encoded()
    assert_near(edit.pipe.codec.latents(edit.images), edit["init.latents"])
    assert_same_codes(edit.pipe.codec, edit.images, edit["init.quantized_indices_flat"].reshape(state.tokens.shape))
    assert torch.equal(state.tokens, edit.pipe.codec.encode(edit.images))


class StartDraws(RecordedDraws):
    """Gives the recorded uniforms as the order in which cells are masked when the run begins."""

    def gumbel(self, step):
        return self.trace["init.rand_u"].flatten(1)


@pytest.mark.parametrize("path", RIGHT)
@torch.inference_mode()
def test_golden_start_of_image_to_image(path):
    """First step, and masked cells: the pipeline masks each with probability gamma, we as many as the schedule
    has left by then, in the same order, so that one set holds the other."""
    edit = Edit(path)
    run = edit.run(edit.encoded(), StartDraws(edit))
    assert f"step{run.first:02d}" == edit.phases()[0]
    ratio = mgt_core.SCHEDULES.get(edit.schedule)().ratio(run.first / edit.steps)
    torch.testing.assert_close(ratio, edit["init.mask_ratio"][0, 0].cpu(), atol=1e-6, rtol=0)
    theirs = (edit["init.tokens_start"] == run.model.mask_id).flatten(1)
    ours = run.tokens == run.model.mask_id
    cells = theirs.shape[1]
    for i in range(theirs.shape[0]):
        assert int(ours[i].sum()) == int((cells * ratio).floor()) == run.left[i]
        assert torch.equal(ours[i] & theirs[i], ours[i] if ours[i].sum() <= theirs[i].sum() else theirs[i])


@pytest.mark.parametrize("path", INPAINT)
def test_golden_cells_of_an_inpainting_mask(path):
    """The pipeline frees cells of which half is covered; ours those and every other the mask touches."""
    edit = Edit(path)
    theirs = edit["init.mask_pt"][:, 0].bool()
    masks = torch.stack([edit[f"init.mask_u8_{i}"] for i in range(theirs.shape[0])]).float() / 255
    state = mgt_core.mask_tokens(replace(edit.encoded(), strength=None), masks)
    assert (state.masked | ~theirs).all()
    assert torch.equal(state.fixed, ~state.masked)
    unit = edit.pipe.model.pixels_per_token
    touched = masks.unflatten(2, (-1, unit)).unflatten(1, (-1, unit)).amax((2, 4)) > 0
    assert torch.equal(state.masked, touched)


@pytest.mark.parametrize("path", ALL)
@torch.inference_mode()
def test_golden_edit_steps(path):
    """Every recorded step from its recorded input: logits, draws, confidence and, where cells are masked, tokens."""
    edit = Edit(path)
    draws = RecordedDraws(edit)
    inpainting = "init.mask_pt" in edit
    start = edit["init.tokens_start"]
    state = edit.encoded()
    if inpainting:
        # Their N is the whole grid times the starting ratio: the number of cells masked at the start.
        state = replace(state, tokens=start, fixed=start != state.mask_id, strength=None)
    spy = Spy()
    run = edit.run(state, draws, spy)
    compared = 0
    for phase in edit.phases():
        index, at = int(phase.removeprefix("step")), f"{phase}."
        tokens_in = edit[at + "tokens_in"].flatten(1)
        before = (tokens_in == run.model.mask_id).sum(1).tolist()
        if not any(before):
            continue
        assert run.timestep(tokens_in, index).unique().tolist() == edit[at + "model_timestep"].tolist()
        drawn = run.draw(index, tokens_in, before)
        kept = edit.sampler.surest(run, drawn)
        where = drawn.step.positions

        def cells(name, where=where, at=at):
            return edit[at + name].reshape(where.shape[0], -1).gather(1, where)

        guided = edit[at + "guided_logits"].flatten(2).transpose(1, 2)
        guided = guided.gather(1, where[..., None].expand(-1, -1, guided.shape[-1]))
        assert_near(spy.seen["logits"], guided)
        wanted = (tokens_in == run.model.mask_id).gather(1, where)
        assert agree(drawn.tokens.gather(1, where)[wanted], cells("x0")[wanted])
        if at + "mask_len" in edit:
            confidence = (drawn.log_probability + run.noise(drawn)).gather(1, where)
            assert_near(confidence[wanted], cells("confidence")[wanted])
            if kept.left == edit[at + "mask_len"].flatten().tolist():
                assert agree(kept.tokens, edit[at + "tokens_out"].flatten(1))
                compared += 1
        else:
            assert agree(kept.tokens, edit[at + "tokens_out"].flatten(1))
            compared += 1
    assert compared or not any((edit[f"{phase}.tokens_in"] == run.model.mask_id).any() for phase in edit.phases())

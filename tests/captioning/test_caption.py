"""Captions by every way of sampling; what they compute is compared in test_golden_captions.py."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError
from mgt_core.captioning.caption import OverWhole, caption_model, caption_state
from mgt_core.captioning.words import sentence
from mgt_core.room import room_on
from mgt_core.samplers.steered import candidate_seed
from mgt_core.schedules.base import still_masked
from support.device import HERE
from support.families import HASTY
from support.golden import Spy, pipeline
from support.golden import bundles as meissonic
from support.loras import low_rank_pairs, save_diffusers
from support.muddit import OWN_MUDDIT, muddit

PIPE = muddit("1024", OWN_MUDDIT)
SIDE = 2 * PIPE.model.side_unit
IMAGES = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))


def caption(image=IMAGES, question="what is it?", pipe=PIPE, **settings):
    return mgt_core.caption(pipe, image, question, **{"steps": 3, **settings})


@pytest.mark.parametrize("name", list(mgt_core.SAMPLERS))
def test_every_sampler(name):
    """Two captions, each as it is alone."""
    sampler = {"klass": HASTY, "one_step": mgt_core.OneStep(noise=0.0)}.get(name, name)
    both = caption(sampler=sampler, seed=5)
    assert len(both) == 2 and all(isinstance(text, str) and text for text in both)
    assert caption(IMAGES[1:], sampler=sampler, seed=6) == both[1:]


@pytest.mark.parametrize("name", ["maskgit", "first_hitting", "entropy_bounded"])
def test_captions_that_end_at_other_steps(name):
    """After a long question some samplers are done before the others of the batch."""
    asked = ["what is it?", 60 * "a "]
    both = caption(question=asked, sampler=name, seed=5, steps=20)
    for image in range(2):
        assert caption(IMAGES[image : image + 1], asked[image], sampler=name, seed=5 + image, steps=20) == [both[image]]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_best_candidate_is_told_whenever_it_ran(at_once):
    alone = [caption(seed=[candidate_seed(seed, n) for seed in (3, 4)], steps=5) for n in range(4)]
    told = caption(sampler=mgt_core.BestOf(n=4, at_once=at_once), seed=3, steps=5)
    assert told == caption(sampler=mgt_core.BestOf(n=4, at_once=4), seed=3, steps=5)
    assert all(text in own for text, own in zip(told, zip(*alone, strict=True), strict=True))


def test_one_step_says_the_likeliest_words():
    """Worked out from the parts: encoder, network, head."""
    network, tokens = PIPE.model.network, PIPE.codec.encode(IMAGES)
    model = caption_model(PIPE.model, PIPE.text, tokens)
    state = caption_state(model, [[3, 4], []])
    with torch.inference_mode():
        hidden, pooled = model.network.text(state.tokens[:, 0].to(PIPE.model.device))
        micro = mgt_core.micro_conditions((SIDE, SIDE)).expand(2, -1).to(hidden)
        prepared = network.prepare(mgt_core.Condition(hidden, pooled, micro), tuple(tokens.shape[1:]))
        rows = network.text_features(tokens.to(hidden.device), torch.zeros(1).to(hidden), prepared)
        words = network.text_head(rows).argmax(-1).cpu()
    assert caption(question="", steps=1)[1] == sentence(PIPE.text.tokenizer, words[1])


def test_what_is_chosen_acts():
    seen, plain = [], caption()
    caption(IMAGES[:1], callback=seen.append, steps=None)
    assert len(seen) == 32 and {step.total for step in seen} == {32}
    assert caption() == plain != caption(seed=1)
    assert caption(schedule="sigmoid") != plain
    assert caption(temperature=30.0) != plain
    assert caption(question="describe") != plain


def test_no_guidance_but_where_it_is_asked_for():
    """At 0 it is the caption of a picture all masked, which is the same for all."""
    nothing = caption(cfg=0.0, seed=[4, 4])
    assert nothing[0] == nothing[1] and caption(seed=[4, 4])[0] != nothing[0]
    assert caption(cfg=3.0) != caption() == caption(cfg=1.0)


def test_modifiers_come_along_and_patches_do_not(caplog):
    spy = Spy()
    model = PIPE.model.with_modifier(mgt_core.TopKTopP(k=1)).with_modifier(spy)
    caption(pipe=replace(PIPE, model=model))
    assert (spy.seen["logits"].isfinite().sum(-1) == 1).all() and "no effect" not in caplog.text
    merging = PIPE.model.with_token_merging(0.5)
    assert caption(pipe=replace(PIPE, model=merging)) == caption() and "token merging has no effect" in caplog.text


def test_a_lora_of_the_network_acts(tmp_path):
    file = save_diffusers(tmp_path / "lora.safetensors", low_rank_pairs(PIPE.model.network), 2.0)
    assert caption(pipe=replace(PIPE, model=PIPE.model.with_lora(file, 3.0))) != caption()


@given(st.integers(1, 40), st.integers(0, 76), st.sampled_from(["cosine", "linear"]))
@settings(max_examples=30, deadline=None)
def test_counts_are_of_all_places(steps, asked, name):
    """n = floor(77 gamma), one at least revealed and one left a step, whatever the question takes."""
    free, left = 77 - asked, []
    schedule = mgt_core.SCHEDULES.get(name)()
    now = free
    for index, share in enumerate(torch.arange(1, steps + 1) / steps):
        now = still_masked(int((77 * schedule.ratio(share)).floor()), now, steps - 1 - index)
        left.append(now)
    assert OverWhole(schedule, 77).counts(steps, free) == left


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    pipe = mgt_core.load(OWN_MUDDIT / "1024", base=OWN_MUDDIT / "base", dtype=dtype, device=HERE["device"])
    assert len(caption(pipe=pipe)) == 2


@pytest.mark.parametrize("text", [None, "w8a16"])
def test_packed(text):
    """The text head stays as it is, whatever is packed before it and beside it."""
    pipe = replace(PIPE, text=mgt_core.quantize_text(PIPE.text, text)) if text else PIPE
    pipe = mgt_core.quantize_pipeline(pipe, "w4a16")
    assert torch.equal(pipe.model.network.text_decoder[1].weight, PIPE.model.network.text_decoder[1].weight)
    assert len(caption(pipe=pipe)) == 2


def test_memory_of_pictures_is_that_of_the_blocks():
    """The head for words is ten times as wide as they are in published weights."""
    network = PIPE.model.network
    assert network.widest == 6 * network.config.width < network.config.tokenizer_vocab_size  # of modulations
    captions = caption_model(PIPE.model, PIPE.text, PIPE.codec.encode(IMAGES)).network
    rows = 77 + PIPE.codec.encode(IMAGES)[0].numel() // network.row_side**2
    assert 77 * captions.widest >= (rows - 77) * network.widest


@dataclass
class Place:
    """A placement of a host that moves networks, which is asked for all of them in one."""

    moved: list
    kept: tuple = ()

    def beside(self, other):
        return Place(self.moved, (*self.kept, other))

    def acquire(self, memory=0):
        self.moved.append((self, memory, self.kept))
        return torch.device(HERE["device"])

    def room(self):
        return room_on(torch.device(HERE["device"]))


def test_a_host_moves_both_networks_together():
    moved = []
    model, text = Place(moved), Place(moved)
    placed = replace(PIPE, model=PIPE.model.with_placement(model), text=PIPE.text.with_placement(text))
    assert caption(pipe=placed) == caption()
    assert all(kept == (text,) for _, _, kept in moved) and moved[0][1] > 0


def test_networks_of_different_hosts_are_each_moved():
    moved = []
    text = replace(PIPE, text=PIPE.text.with_placement(Place(moved)))
    assert caption(pipe=text) == caption() and moved


def without_mask() -> mgt_core.Pipeline:
    network = mgt_core.replaced(PIPE.model.network, {}, share=False)
    network.mask_word = None
    return replace(PIPE, model=replace(PIPE.model, network=network))


def other_text(**values) -> mgt_core.Pipeline:
    config = type(PIPE.text.network.config).from_dict(PIPE.text.network.config.to_dict() | values)
    network = type(PIPE.text.network)(config)
    return replace(PIPE, text=replace(PIPE.text, network=network))


BAD = {
    "noise": (lambda: caption(sampler="one_step"), "noise on the embeddings does not work on captions"),
    "objects": (
        lambda: caption(sampler=mgt_core.Uncage((2.0, 0.0), objects=((((1,),), ((2,),)),))),
        "UNCAGE does not work on captions",
    ),
    "reward": (
        lambda: caption(sampler=mgt_core.BestOf(reward=mgt_core.ColourAgreement())),
        "steered by a reward, which looks at pictures",
    ),
    "no text head": (
        lambda: caption(pipe=pipeline(meissonic()[0])),
        r"text head \(muddit\), and this one is Meissonic",
    ),
    "no mask": (lambda: caption(pipe=without_mask()), "need mask_token_embedding.pth.* folder 1024"),
    "no text encoder": (lambda: caption(pipe=replace(PIPE, text=None)), "text_encoder is NoneType"),
    "words": (lambda: caption(pipe=other_text(vocab_size=600)), "knows 600 words and the text head of this model 534"),
    "width": (lambda: caption(pipe=other_text(hidden_size=48)), "masked word is of width 40 .* of 48"),
    "pooled": (lambda: caption(pipe=other_text(projection_dim=8)), "gives pooled states of width 8 and .* takes 24"),
    "size": (lambda: caption(torch.rand(1, SIDE, SIDE + 8, 3)), f"is {SIDE + 8} x {SIDE} pixels; .*scale it to"),
    "questions": (lambda: caption(question=["a", "b", "c"]), "expected one text, or 2, one a picture"),
    "no pipeline": (lambda: mgt_core.caption(PIPE.model, IMAGES), "was given MGTModel; expected a loaded bundle"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, words = BAD[name]
    with pytest.raises(MGTError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)

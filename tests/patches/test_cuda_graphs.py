"""CUDA graphs: replayed without Python, on tensors that stay, a run gives the tokens it gives without."""

import copy
import gc
from dataclasses import replace

import pytest
import torch
from torch import nn

import mgt_core
from mgt_core.patches import cuda_graphs
from support.device import HERE, agree
from support.editmgt import own_pipeline
from support.families import FAMILIES, TECHNIQUES, conditions, reference_tokens, run
from support.quantized import quantized, with_model
from support.runs import PIPE, condition, empty
from support.tape import counted


@pytest.fixture
def tape(monkeypatch):
    return counted(monkeypatch)


def graphed(model=PIPE.model):
    return model.with_cuda_graphs()


def tokens(model, batch=2, seed=0, grid=(8, 8), **settings):
    state = empty(grid, batch, PIPE)
    conditions = [condition(PIPE, n, batch) for n in (seed, 9)]
    chosen = {"steps": 6, "cfg": 3.0, "seed": seed} | settings
    return mgt_core.sample(model, state, *conditions, **chosen).tokens


def test_recorded_once_and_launched_at_every_step(tape):
    model = graphed()
    assert agree(tokens(model), tokens(PIPE.model)) and (tape.made, tape.played) == (1, 6)
    # Another run, with other prompts and another seed, launches the same recording.
    assert agree(tokens(model, seed=1), tokens(PIPE.model, seed=1)) and (tape.made, tape.played) == (1, 12)


def test_a_cache_over_words_and_cells_is_launched_too(tape, tmp_path):
    """Of both prompts, which are of two lengths, the calls of all rows and of some; a later run takes them over."""
    pipe = mgt_core.load(FAMILIES["lumina_dimoo"](tmp_path), **HERE)
    cached = replace(pipe, model=pipe.model.with_patch(mgt_core.MLCache(0.6, 2, 0.0)))
    both = replace(cached, model=graphed(cached.model))
    wanted = run(cached, "sampler maskgit")
    assert agree(run(both, "sampler maskgit"), wanted) and tape.made == 4
    assert agree(run(both, "sampler maskgit"), wanted) and tape.made == 4


def test_kinds_of_calls(tape):
    model = graphed()
    kinds = [{"batch": 2}, {"batch": 1}, {"batch": 2, "cfg": 1.0}, {"grid": (4, 6)}, {"batch": 2}]
    for settings in kinds:
        assert agree(tokens(model, **settings), tokens(PIPE.model, **settings))
    assert tape.made == 3  # one image with guidance is a call of two, as two images without it


@pytest.mark.parametrize(
    "technique",
    [
        t
        for t in TECHNIQUES
        if not t.startswith(("schedule ", "patch co", "patch cu", "patch reference", "patch stage_"))
    ],
)
def test_same_tokens_with_every_technique(tape, technique):
    wanted = run(PIPE, technique)
    assert agree(run(with_model(graphed()), technique), wanted)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "meissonic"])
def test_every_family(tape, family, tmp_path):
    pipe = mgt_core.load(FAMILIES[family](tmp_path), **HERE)
    wanted = run(pipe, "sampler maskgit")
    found = run(replace(pipe, model=graphed(pipe.model)), "sampler maskgit")
    shapes = [condition.shapes for condition in conditions(pipe)]
    kinds = 1 if shapes[0] == shapes[1] else 2  # prompts of a length share a call
    kinds *= min(2, len(pipe.model.stage_shares))  # the first book's frames see all others, those of the rest not
    assert agree(found, wanted) and tape.made == kinds


def test_a_reference_is_what_stays_for_a_run(tape):
    """Another one is put in its place, and nothing is recorded again."""
    pipe = own_pipeline()
    prompt = pipe.text.encode("a cat")
    models = pipe.model, graphed(pipe.model)
    for seed in range(2):
        reference = mgt_core.ReferencePicture(reference_tokens(pipe.model) + seed)
        wanted, found = (
            mgt_core.sample(
                model.with_patch(reference), mgt_core.empty_tokens(pipe, 64, 64), prompt, steps=3, cfg=1.0, seed=seed
            ).tokens
            for model in models
        )
        assert agree(wanted, found)
    assert tape.made == 1


def test_cached_steps(tape):
    cached = PIPE.model.with_token_cache(0.25, every=3)
    model = graphed(cached)
    for seed in range(3):
        assert agree(tokens(model, seed=seed), tokens(cached, seed=seed))
    # All rows, some rows: on the memory of the first run, which the others take over.
    assert (tape.made, tape.played) == (2, 17)


def test_cached_runs_that_overlap_do_not_share_memory(tape):
    cached = PIPE.model.with_token_cache(0.25, every=3)
    model, inner = graphed(cached), []

    def callback(step):
        if step.index == 2:
            inner.append(tokens(model, seed=5))

    assert agree(tokens(model, callback=callback), tokens(cached))
    assert agree(inner[0], tokens(cached, seed=5))


def test_merged_steps_run_as_they_are_and_cached_ones_are_recorded(tape):
    merged = PIPE.model.with_token_merging(0.5, blocks="all").with_token_cache(0.25, every=3)
    for _ in range(2):
        assert agree(tokens(graphed(merged)), tokens(merged))
    assert tape.made and tape.played == 8  # four of six steps, twice


def test_with_guidance_reuse_and_cache(tape):
    both = PIPE.model.with_token_cache(0.25, every=3).with_guidance_reuse(every=2)
    model = graphed(both)
    for seed in range(2):
        assert agree(tokens(model, seed=seed, steps=8), tokens(both, seed=seed, steps=8))


def test_weights_that_move_drop_the_recordings(tape):
    pipe = mgt_core.load("demo", **HERE)
    model = graphed(pipe.model)
    state, texts = mgt_core.empty_tokens(pipe, 128, 128), [pipe.text.encode([text]) for text in ("a red heart", "")]
    settings = {"steps": 2, "cfg": 2.0}
    wanted = mgt_core.sample(model, state, *texts, **settings).tokens
    held = model.patch("cuda_graphs").recordings(model.network)
    assert len(held.held) == 1
    model.network.to(HERE["device"])  # where they are already
    assert len(held.held) == 1
    layer = model.network.transformer_blocks[0].attn.to_qkv
    layer.weight = nn.Parameter(layer.weight.clone(), requires_grad=False)
    assert agree(mgt_core.sample(model, state, *texts, **settings).tokens, wanted) and tape.made == 2
    model.network._apply(lambda value: value.clone())
    assert not held.held  # at once, not when next used


def test_freed_with_the_model(tape):
    pipe = mgt_core.load("demo", **HERE)
    model = graphed(pipe.model)
    state, text = mgt_core.empty_tokens(pipe, 128, 128), pipe.text.encode(["a dog"])
    mgt_core.sample(model, state, text, steps=1, cfg=1.0)
    held = next(iter(model.network.watchers))
    assert held.held
    del model, held
    gc.collect()
    assert not pipe.model.network.watchers


def test_a_copy_with_weights_of_its_own_watches_for_itself(tape):
    model = graphed()
    tokens(model, steps=1)
    copy = mgt_core.replaced(PIPE.model.network, {}, share=False)
    assert len(PIPE.model.network.watchers) and not len(copy.watchers)


@pytest.mark.cpu_only("a GPU is where they have an effect")
def test_no_effect_on_a_processor_and_said_once(caplog):
    model = graphed()
    assert agree(tokens(model), tokens(PIPE.model)) and agree(tokens(model), tokens(PIPE.model))
    (message,) = [r.message for r in caplog.records if r.name == cuda_graphs.__name__]
    assert message == "CUDA graphs have no effect on cpu; the network runs as it is"


def test_what_cannot_be_recorded_runs_as_it_is(tape, monkeypatch, caplog):
    plain = PIPE.model.network.features

    def asking(tokens, timestep, prepared, *more):
        if float(timestep[0]) >= 0:  # waits for the device
            return plain(tokens, timestep, prepared, *more)

    monkeypatch.setattr(PIPE.model.network, "features", asking)
    model = graphed()
    assert agree(tokens(model), tokens(PIPE.model)) and agree(tokens(model), tokens(PIPE.model))
    (message,) = [r.message for r in caplog.records if r.name == cuda_graphs.__name__]
    assert "cannot be recorded as a CUDA graph here" in message and tape.made == 0


def test_a_fault_of_the_network_is_not_blamed_on_recording(tape, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(PIPE.model.network, "features", fail)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        tokens(graphed())
    assert not [r for r in caplog.records if r.name == cuda_graphs.__name__]


def test_numbers_that_break_are_traced_to_their_layer(tape):
    pipe = mgt_core.load("demo", **HERE)
    broken = pipe.model.network.single_transformer_blocks[0].proj_mlp
    broken.register_forward_hook(lambda layer, inputs, out: out / 0)
    state, text = mgt_core.empty_tokens(pipe, 128, 128), pipe.text.encode(["a dog"])
    with pytest.raises(mgt_core.MGTError, match="single_transformer_blocks.0.proj_mlp"):
        mgt_core.sample(graphed(pipe.model), state, text, steps=1, cfg=1.0)


def test_few_are_held(tape, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 2)
    model = graphed()
    for batch in (1, 2, 3, 1):
        assert agree(tokens(model, batch=batch), tokens(PIPE.model, batch=batch))
    assert tape.made == 4 and len(model.patch("cuda_graphs").recordings(model.network).held) == 2


@pytest.mark.parametrize("scheme", mgt_core.list_quantizations())
def test_quantized_layers_know_their_sides(tape, scheme):
    model = quantized(scheme).model
    assert agree(tokens(graphed(model)), tokens(model)) and tape.made == 1


def test_skipped_steps(tape):
    skipping = PIPE.model.with_step_skipping(3)
    model = graphed(skipping)
    for seed in range(3):
        assert agree(tokens(model, seed=seed, steps=8), tokens(skipping, seed=seed, steps=8))
    # All blocks with what they add written, skipped, and the last step as it is: whatever the run.
    assert (tape.made, tape.played) == (3, 24)


def test_skipped_and_cached_steps(tape):
    both = PIPE.model.with_step_skipping(2).with_token_cache(0.25, every=4).with_guidance_reuse(every=3)
    model = graphed(both)
    for seed in range(2):
        assert agree(tokens(model, seed=seed, steps=12), tokens(both, seed=seed, steps=12))
    assert tape.played > 20


def test_networks_of_loras_that_are_gone_leave_nothing(tape):
    """The patch is shared by all that is attached after it."""
    pipe = mgt_core.load("demo", **HERE)
    model, text = graphed(pipe.model), pipe.text.encode(["a dog"])
    for _ in range(2):
        adapted = replace(model, network=copy.copy(model.network))
        mgt_core.sample(adapted, mgt_core.empty_tokens(pipe, 128, 128), text, steps=1, cfg=1.0)
    assert tape.made == 2
    del adapted
    gc.collect()
    assert not model.patch("cuda_graphs")._made


def test_state_that_no_recording_knows_goes(tape, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 2)
    cached = PIPE.model.with_token_cache(0.25, every=3)
    model = graphed(cached)
    for batch in (1, 2, 3, 4, 1):
        assert agree(tokens(model, batch=batch), tokens(cached, batch=batch))
    held = model.patch("cuda_graphs").recordings(model.network)
    assert len(held.held) == 2 and sum(map(len, held.lent.values())) <= 2


def test_a_recording_that_does_not_fit_is_no_end(tape, monkeypatch):
    model, room = graphed(), [False]
    record = cuda_graphs.Recording.__init__

    def short(self, call, recorder):
        if not room[0]:
            raise torch.OutOfMemoryError("out of memory")
        record(self, call, recorder)

    monkeypatch.setattr(cuda_graphs.Recording, "__init__", short)
    assert agree(tokens(model), tokens(PIPE.model)) and tape.made == 0
    room[0] = True  # and tried again later
    assert agree(tokens(model), tokens(PIPE.model)) and tape.made == 1

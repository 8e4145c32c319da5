"""A check that raises ends long work between two of its parts, and leaves nothing behind."""

import threading
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core import pulse
from mgt_core.types import PICTURES
from support.device import HERE, agree
from support.families import FAMILIES, REFUSED, STEPS, TECHNIQUES, blank, conditions, one_of, run
from support.quantized import with_model
from support.runs import PIPE
from support.tape import counted

BLOCKS = {  # what the modules are called whose beginning is asked about
    **dict.fromkeys(("meissonic", "muddit", "editmgt"), ("JointBlock", "SingleBlock")),
    "openmuse": ("Layer",),
    "halton": ("Block",),
    "amused": ("ConvBlock", "TextBlock", "Layer"),
    **dict.fromkeys(("lumina_dimoo", "mmada", "show-o"), ("Block",)),
    "magnet": ("Layer",),
}


class StoppedError(Exception):
    """What the check raises."""


class Check:
    """Counts, and raises at the one with this number."""

    def __init__(self, last: int | None = None):
        self.count, self.last = 0, last

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.last:
            raise StoppedError


def stopped(work, last: int) -> Check:
    check = Check(last)
    with pytest.raises(StoppedError), mgt_core.interruptible(check):
        work()
    assert check.count == last
    return check


def counting(work) -> tuple[int, object]:
    check = Check()
    with mgt_core.interruptible(check):
        result = work()
    return check.count, result


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda family: mgt_core.load(FAMILIES[family](root / family), **HERE))


def blocks_of(pipe, family: str) -> list[torch.nn.Module]:
    return [m for m in pipe.model.network.modules() if type(m).__name__ in BLOCKS[family]]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block_begins_with_a_question(pipes, family):
    """In the order of the blocks: the check sees as many begun as it was called before, after what comes first."""
    pipe, begun, asked = pipes(family), [], []
    blocks = blocks_of(pipe, family)
    assert len(blocks) > 1
    state, stages = blank(pipe, 1), len(pipe.model.stage_shares)
    one = one_of(conditions(pipe)[0], 0)
    handles = [block.register_forward_hook(lambda *given: begun.append(len(asked))) for block in blocks]
    try:
        with mgt_core.interruptible(lambda: asked.append(None)):
            mgt_core.sample(pipe.model, state, one, steps=stages, cfg=1.0, sampler="maskgit", seed=0)
    finally:
        for handle in handles:
            handle.remove()
    assert len(begun) == stages * len(blocks)
    assert begun == sorted(set(begun)), "some block ran without a question before it"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_ends_wherever_it_is_and_the_next_is_the_same(pipes, family):
    pipe = pipes(family)
    expected = run(pipe, "sampler maskgit")
    count, asked = counting(lambda: run(pipe, "sampler maskgit"))
    assert torch.equal(asked, expected)
    assert count >= STEPS * len(blocks_of(pipe, family))
    for last in {1, 2, count // 2, count - 1, count}:
        stopped(lambda: run(pipe, "sampler maskgit"), last)
        assert pulse._check.value is None
    assert torch.equal(run(pipe, "sampler maskgit"), expected)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_can_be_ended(pipes, technique):
    if ("meissonic", technique) in REFUSED:
        pytest.skip("refused")
    pipe = pipes("meissonic")
    expected = run(pipe, technique)
    count, _ = counting(lambda: run(pipe, technique))
    stopped(lambda: run(pipe, technique), max(1, count - 1))
    assert torch.equal(run(pipe, technique), expected)


def test_nothing_is_asked_inside_what_is_recorded(monkeypatch):
    """A recording is played without its Python: a check in it would end one run and never be asked again."""
    tape, plain = counted(monkeypatch), counting(lambda: run(PIPE, "sampler maskgit"))
    recorded = with_model(PIPE.model.with_cuda_graphs())
    count, tokens = counting(lambda: run(recorded, "sampler maskgit"))
    assert tape.made and agree(tokens, plain[1])
    assert count < plain[0]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_nothing_is_asked_inside_what_is_compiled(backend):
    plain = counting(lambda: run(PIPE, "sampler maskgit"))
    compiled = with_model(PIPE.model.with_compile(backend=backend))
    count, tokens = counting(lambda: run(compiled, "sampler maskgit"))
    assert agree(tokens, plain[1]) and 0 < count < plain[0]
    stopped(lambda: run(compiled, "sampler maskgit"), 1)
    assert agree(run(compiled, "sampler maskgit"), plain[1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", ["decode", "latents"])
@pytest.mark.parametrize("tile", [0, 16])
def test_a_codec_ends_between_layers_and_strips(pipes, family, way, tile):
    codec = pipes(family).codec
    if codec.makes != PICTURES or tile and not codec.takes_tiles:
        pytest.skip("works on whole pictures only, or on none")
    side = 4 * max(tile, 2 * codec.scale)
    if way == "decode":
        ids = torch.randint(codec.codebook_size, (1, side // codec.scale, side // codec.scale))
        work = lambda: codec.decode(ids, tile)  # noqa: E731
    else:
        image = torch.rand(1, side, side, 3)
        work = lambda: codec.latents(image, tile)  # noqa: E731
    expected = work()
    count, _ = counting(work)
    coder = codec.network.decoder if way == "decode" else codec.network.encoder
    assert count >= sum(isinstance(module, torch.nn.GroupNorm) for module in coder.modules()) - 2
    for last in (1, count // 2, count):
        stopped(work, last)
    assert torch.equal(work(), expected)


@pytest.mark.parametrize("way", ["decode", "encode"])
def test_a_codec_of_sound_ends_between_layers(pipes, way):
    codec = pipes("magnet").codec
    given = torch.rand(1, 1, 8 * codec.scale) if way == "encode" else torch.randint(codec.codebook_size, (1, 4, 8))
    work = lambda: getattr(codec, way)(given)  # noqa: E731
    expected = work()
    count, _ = counting(work)
    assert count > 2
    for last in (1, count // 2, count):
        stopped(work, last)
    assert torch.equal(work(), expected)


def test_a_text_encoder_ends_between_layers():
    count, expected = counting(lambda: PIPE.text.encode("a cat"))
    assert count == len(PIPE.text.network.text_model.encoder.layers)
    stopped(lambda: PIPE.text.encode("a cat"), count)
    assert torch.equal(PIPE.text.encode("a cat").hidden, expected.hidden)


@pytest.mark.parametrize("quantization", ["none", "w4a16"])
def test_reading_a_model_ends_between_its_tensors(quantization, tmp_path):
    """Eight billion weights are packed for minutes."""
    source = FAMILIES["lumina_dimoo"](tmp_path / "model")

    def work():
        return mgt_core.load(source, quantization=quantization, **HERE)

    plain = mgt_core.load(source, **HERE)
    count, _ = counting(work)
    assert count >= len(plain.model.network.state_dict()) + len(plain.codec.network.state_dict())
    for last in (1, count // 2, count):
        stopped(work, last)


def test_a_check_holds_in_its_thread_alone():
    results = []
    check = Check(1)
    with mgt_core.interruptible(check):
        other = threading.Thread(target=lambda: results.append(run(PIPE, "sampler maskgit")))
        other.start()
        other.join()
    assert len(results) == 1 and check.count == 0


def test_checks_lie_within_each_other():
    outer, inner = Check(), Check()
    with mgt_core.interruptible(outer):
        with mgt_core.interruptible(inner):
            pulse.beat()
        with pulse.uninterrupted():
            pulse.beat()
        pulse.beat()
    pulse.beat()
    assert (outer.count, inner.count) == (1, 1)

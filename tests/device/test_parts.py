"""What stands beside the steps of a run, on a pretended device: prompts, pictures, LoRAs and packed weights."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from support.families import FAMILIES
from support.golden import bundles, pipeline
from support.loras import low_rank_pairs, save_peft
from support.on_device import CEILINGS, DRAWS, Watched, on_device
from support.pretended import PretendedCUDA
from support.quantized import SCHEMES, conditions, quantized, tokens, with_model

pytestmark = pytest.mark.cpu_only("the device is pretended")
ROUNDING = 1e-5
TILE = 24


def watched(pipe: mgt_core.Pipeline) -> Watched:
    with PretendedCUDA() as watch:
        return Watched(tokens(pipe, callback=lambda step: watch.mark()), watch)


def check(model: mgt_core.MGTModel, key: str) -> torch.Tensor:
    """A clean run; its tokens."""
    run = watched(with_model(on_device(model)))
    assert list(run.watch.steady.waits) == []
    assert [note for note in run.watch.whole.float64 if not note.place.startswith(DRAWS)] == []
    assert not CEILINGS.exceeded(key, run.kernels)
    return run.tokens


PACKED = {name: name for name in SCHEMES} | {
    "w4a8, every layer, scales of every token": mgt_core.W4A8(int8_share=1.0, activation_scales="dynamic"),
    "w4a8, outputs too": mgt_core.W4A8(outputs="int8"),
}


@pytest.mark.parametrize("scheme", PACKED)
def test_packed_weights(scheme):
    """By plain torch: compiled kernels are not there. A rounding that falls the other way moves an int8 code by one, so
    logits are compared, and not tokens."""
    model = quantized(PACKED[scheme]).model
    check(model, f"packed: {scheme}")
    ids = torch.arange(32).reshape(2, 4, 4) % model.codebook_size
    ids[:, :2] = model.mask_id
    own = model.logits(ids, conditions()[0], 3.0)
    with PretendedCUDA():
        away = on_device(model).logits(ids, conditions()[0], 3.0).cpu() - own
    assert away.abs().mean() < 0.02 * own.std()


def test_a_lora(tmp_path):
    model = pipeline(bundles()[0]).model
    file = save_peft(tmp_path, low_rank_pairs(model.network), 4.0)
    for key, under in (("LoRA", model), ("LoRA over packed weights", quantized("w8a16").model)):
        adapted = under.with_lora(file, 0.7)
        assert torch.equal(check(adapted, key), tokens(with_model(adapted)))


@pytest.mark.parametrize("weights", [False, True], ids=["as it is", "words weighted"])
def test_prompts(weights):
    text, prompts = pipeline(bundles()[0]).text, ["a (red:1.4) cat", "a dog"]
    own = text.encode(prompts, (64, 64), weights)
    with PretendedCUDA() as watch:
        given = on_device(text).encode(prompts, (64, 64), weights)
        assert not CEILINGS.exceeded(f"waits of a prompt{' with weights' * weights}", [watch.whole.waits.total()], 1)
        for name in ("hidden", "pooled", "micro"):
            torch.testing.assert_close(getattr(given, name).cpu(), getattr(own, name), atol=ROUNDING, rtol=0)
    assert not watch.whole.float64


@pytest.fixture(scope="module", params=["meissonic", "openmuse", "halton"])
def codec(request, tmp_path_factory):
    """On the CPU, on the device, and its name."""
    source = FAMILIES[request.param](tmp_path_factory.mktemp("codec") / "bundle")
    own = mgt_core.load(source, dtype=torch.float32, device="cpu").codec
    return own, on_device(own), request.param


def tiles(codec) -> dict[int, str]:
    return {0: "", TILE: ", tiled"} if codec.takes_tiles else {0: ""}


def test_pictures_are_decoded(codec):
    own, device, family = codec
    ids = torch.randint(own.codebook_size, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    for tile, name in tiles(own).items():
        with PretendedCUDA() as watch:
            picture = device.decode(ids, tile)
            assert not CEILINGS.exceeded(f"waits to decode, {family}{name}", [watch.whole.waits.total()], 1)
            torch.testing.assert_close(picture.cpu(), own.decode(ids, tile), atol=ROUNDING, rtol=0)


def test_pictures_are_encoded(codec):
    own, device, family = codec
    picture = torch.rand(1, 8 * own.scale, 8 * own.scale, 3, generator=torch.Generator().manual_seed(0))
    for tile, name in tiles(own).items():
        with PretendedCUDA() as watch:
            ids = device.encode(picture, tile)
            assert not CEILINGS.exceeded(f"waits to encode, {family}{name}", [watch.whole.waits.total()], 1)
            assert torch.equal(ids.cpu(), own.encode(picture, tile))


def test_everything_on_the_device():
    """From the prompt to the picture, what one part leaves on the device is the next one's to take."""
    cpu = pipeline(bundles()[0])
    device = replace(cpu, model=on_device(cpu.model), text=on_device(cpu.text), codec=on_device(cpu.codec))

    def picture(pipe):
        image = torch.rand(1, 8 * pipe.codec.scale, 8 * pipe.codec.scale, 3, generator=torch.Generator().manual_seed(0))
        given = mgt_core.encode_image(pipe.model, pipe.codec, image)
        mask = torch.zeros(image.shape[:3])
        mask[:, :32] = 1
        condition = pipe.text.encode("a cat"), pipe.text.encode("")
        out = mgt_core.sample(pipe.model, mgt_core.mask_tokens(given, mask), *condition, steps=3, cfg=2.0, seed=0)
        return out.tokens.cpu(), pipe.codec.decode(out).cpu()

    with PretendedCUDA():
        ids, image = picture(device)
    own_ids, own_image = picture(cpu)
    assert torch.equal(ids, own_ids)
    torch.testing.assert_close(image, own_image, atol=ROUNDING, rtol=0)

"""EnCodec: what it takes, what it refuses, how its files are told, and that long work can be ended."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.codecs import encodec
from mgt_core.codecs.base import cudnn_setting
from mgt_core.codecs.encodec import EnCodec
from mgt_core.loading.part import kind_of, read_part
from mgt_core.placement import OnDemand
from mgt_core.room import Room
from support.device import DEVICE, agree, equal
from support.golden import bundles, pipeline
from support.refusals import INF, NAN, check
from support.sounds import converted_codec, loaded, published_codec, sound_codec

CODEC = sound_codec()
HOP, BOOKS, CODES = CODEC.scale, CODEC.books, CODEC.codebook_size
PICTURES = pipeline(bundles()[0]).codec
few = settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])


def ids(batch: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, CODES, (batch, BOOKS, frames), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def wave(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def state(tokens: torch.Tensor, **changes) -> mgt_core.TokenState:
    return mgt_core.TokenState(tokens, torch.zeros_like(tokens, dtype=torch.bool), CODES, CODES, **changes)


@few
@given(st.integers(1, 3), st.integers(1, 9 * HOP), st.integers(0, 99))
def test_frames_of_any_length(batch, samples, seed):
    """As many as it takes; decoded, they are whole frames."""
    found = CODEC.encode(wave(batch, samples, seed))
    assert found.shape == (batch, BOOKS, -(-samples // HOP)) and found.dtype == torch.long
    decoded = CODEC.decode(found)
    assert decoded.shape == (batch, 1, found.shape[2] * HOP) and decoded.dtype == torch.float32


@few
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 99))
def test_a_sound_does_not_depend_on_its_batch(batch, frames, seed):
    tokens = ids(batch, frames, seed)
    together, alone = CODEC.decode(tokens), torch.cat([CODEC.decode(each[None]) for each in tokens])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)
    assert equal(CODEC.decode(state(tokens)), together)


@few
@given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_vectors_are_sums_of_rows(batch, frames, seed):
    tokens = ids(batch, frames, seed)
    wanted = CODEC.network.quantizer.decode(tokens.transpose(0, 1))
    assert equal(CODEC.vectors(tokens), wanted)
    first = torch.zeros_like(tokens, dtype=torch.bool)
    first[:, 0] = True
    assert equal(CODEC.vectors(tokens, first), CODEC.tables[0][tokens[:, 0]].transpose(1, 2))
    assert not CODEC.vectors(tokens, torch.zeros_like(first)).any()


def test_sounds_are_worked_on_a_few_at_a_time(monkeypatch):
    tokens = ids(3, 6)
    whole, codes = CODEC.decode(tokens), CODEC.encode(wave(3, 100))
    monkeypatch.setattr(encodec, "TOGETHER", 6 * HOP)
    torch.testing.assert_close(CODEC.decode(tokens), whole, atol=2e-6, rtol=0)
    assert equal(CODEC.encode(wave(3, 100)), codes)


def test_levels_are_not_cut():
    loud = copy.deepcopy(CODEC.network)
    loud.decoder.layers[-1].conv.bias.fill_(5.0)
    assert replace(CODEC, network=loud).decode(ids(1, 4)).max() > 2


def test_where_it_computes():
    codec = CODEC.with_placement(OnDemand(CODEC.network, DEVICE, DEVICE))
    assert agree(codec.decode(ids(1, 4)), CODEC.decode(ids(1, 4)))
    assert codec.room().device.type == DEVICE.type


def test_memory_of_a_long_sound(monkeypatch):
    """Told before it is tried; what a device can never hold is refused."""
    minute = 60 * 50
    assert CODEC.memory(2 * minute * HOP) == 2 * CODEC.memory(minute * HOP) > 0
    cpu = torch.device("cpu")
    monkeypatch.setattr(EnCodec, "room", lambda self: Room(cpu, 2**40, 1000))
    assert "decoding 60 s of sound takes" in CODEC.decode_note((BOOKS, minute))
    monkeypatch.setattr(EnCodec, "room", lambda self: Room(cpu, 1000, 1000))
    check(lambda: CODEC.decode_note((BOOKS, minute)), ("60 s of sound", "make a shorter sound"))


@pytest.mark.parametrize("work", ["decode", "encode"])
@pytest.mark.parametrize("calls", [1, 5])
def test_it_can_be_ended(work, calls):
    class Stopped(Exception):
        pass

    asked = []

    def stop():
        asked.append(None)
        if len(asked) >= calls:
            raise Stopped

    with pytest.raises(Stopped), mgt_core.interruptible(stop):
        CODEC.decode(ids(1, 4)) if work == "decode" else CODEC.encode(wave(1, 200))
    assert len(asked) == calls


def test_nothing_is_rounded_on_a_gpu():
    """A latent would cross from one code to another."""
    seen = []

    def look():
        for kind in ("conv", "rnn"):
            where, name, (exact, _) = cudnn_setting(kind)
            seen.append(getattr(where, name) == exact)

    with mgt_core.interruptible(look):
        CODEC.encode(wave(1, 99))
        CODEC.decode(ids(1, 3))
    assert seen and all(seen)


@pytest.mark.parametrize("value", [NAN, INF])
def test_numbers_that_are_none_are_told_with_their_layer(value):
    network = copy.deepcopy(CODEC.network)
    network.decoder.layers[-1].conv.bias.fill_(value)
    network.encoder.layers[0].conv.bias.fill_(value)
    codec = replace(CODEC, network=network)
    check(lambda: codec.decode(ids(1, 4)), ("the codec made samples that are not finite", "layers"))
    check(lambda: codec.encode(wave(1, 99)), ("the codec made latents that are not finite", "layers"))


@pytest.mark.parametrize(
    "tokens, told",
    [
        (torch.zeros(1, 3, 5, dtype=torch.long), "shape .1, 3, 5.; this codec makes sound of 4 code books"),
        (torch.zeros(1, 4, 0, dtype=torch.long), "expected .batch, 4, frames"),
        (torch.zeros(1, 4, 5, dtype=torch.bool), "tokens are torch.bool of shape"),
        (torch.zeros(4, 5, dtype=torch.long), "expected whole numbers of shape .batch, 4, frames"),
        (torch.zeros(1, 4, 5), "expected whole numbers"),
        (torch.full((1, 4, 5), 32), "codes from 32 to 32"),
        ("tokens", "tokens are str"),
    ],
)
def test_tokens_that_it_cannot_decode(tokens, told):
    check(lambda: CODEC.decode(tokens), (told,))
    check(lambda: CODEC.vectors(tokens), (told,))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_ids_may_be_of_any_whole_type(dtype):
    assert equal(CODEC.decode(ids(1, 4).to(dtype)), CODEC.decode(ids(1, 4)))


def test_states_that_it_cannot_decode():
    tokens = ids(1, 5)
    tokens[0, 2, 3] = CODES
    check(lambda: CODEC.decode(state(tokens)), ("1 of 20 cells are still masked",))
    other = mgt_core.empty_state(1, (4, 5), 64, 64)
    filled = replace(other, tokens=torch.zeros_like(other.tokens))
    check(lambda: CODEC.decode(filled), ("codec was made for another model",))


def test_pictures_and_sound_are_not_mixed():
    """A picture's grid has other sides, or other codes; tokens of sound say what they are."""
    codes = PICTURES.codebook_size
    tokens = torch.zeros(1, 4, 6, dtype=torch.long, device=DEVICE)
    sound = mgt_core.TokenState(tokens, tokens.bool(), codes, codes, makes="sound")
    check(lambda: PICTURES.decode(sound), ("decoding to pictures is for pictures, and the tokens given are of sound",))
    check(lambda: CODEC.decode(torch.zeros(1, 6, 6, dtype=torch.long)), ("makes sound of 4 code books",))


@pytest.mark.parametrize(
    "given, told",
    [
        (torch.zeros(1, 2, 99), "2 channels; this codec takes one"),
        (torch.zeros(1, 99), "expected .batch, 1, samples"),
        (torch.zeros(1, 1, 0), "expected .batch, 1, samples"),
        (torch.zeros(0, 1, 9), "expected .batch, 1, samples"),
        (torch.zeros(1, 1, 99, dtype=torch.int16), "torch.int16; expected a tensor of floats"),
        (torch.full((1, 1, 99), NAN), "not finite"),
        ([0.0] * 99, "wave is list"),
    ],
)
def test_waves_that_it_cannot_encode(given, told):
    check(lambda: CODEC.encode(given), (told,))


def test_sounds_that_are_too_long(monkeypatch):
    monkeypatch.setattr(encodec, "LONGEST", 4 * HOP)
    check(lambda: CODEC.encode(wave(1, 4 * HOP + 1)), ("129 samples; accepted are up to 128",))
    check(lambda: CODEC.decode(ids(1, 5)), ("160 samples; accepted are up to 128",))


def test_both_forms_are_told_by_their_tensors(tmp_path):
    for folder in (published_codec(tmp_path / "own"), converted_codec(tmp_path / "converted")):
        part = read_part(folder)
        assert part.kind is EnCodec and part.codes == CODES
        assert equal(loaded(folder).decode(ids(1, 7)), CODEC.decode(ids(1, 7)))
    pictures = {"quantize.embedding.weight": (8, 4), "decoder.conv_in.weight": (4, 4, 3, 3)}
    assert kind_of({}, pictures) is not EnCodec


def test_how_many_books_there_are_is_read_from_the_tensors(tmp_path):
    """Whatever bandwidths a config names, and however the installed transformers counts by them."""
    folder = converted_codec(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for bandwidths in ([0.4], [1.5, 3.0, 24.0]):
        (folder / "config.json").write_text(json.dumps(config | {"target_bandwidths": bandwidths}))
        assert loaded(folder).books == BOOKS


def test_numbers_are_taken_as_people_write_them(tmp_path):
    """1 for 1.0, 4.0 for 4, 1 for true."""

    def written(config: dict) -> None:
        config["seanet"]["decoder"]["trim_right_ratio"] = 1
        config["seanet"] |= {"n_filters": 4.0, "true_skip": 1, "ratios": [4.0, 4, 2]}

    assert equal(loaded(published_codec(tmp_path, written)).decode(ids(1, 7)), CODEC.decode(ids(1, 7)))


def test_causal_ones_work(tmp_path):
    """What comes later changes nothing before it."""
    codec = loaded(published_codec(tmp_path, lambda config: config["encodec"].update(causal=True)))
    tokens = ids(1, 9)
    later = tokens.clone()
    later[..., 6:] = (later[..., 6:] + 1) % CODES
    ours, other = codec.decode(tokens), codec.decode(later)
    assert equal(ours[..., : 6 * HOP], other[..., : 6 * HOP]) and not equal(ours, other)


@pytest.mark.parametrize(
    "part, changes, told",
    [
        ("encodec", {"renormalize": True}, "normalizes or cuts sound"),
        ("encodec", {"channels": 2}, "a codec of 2 channels"),
        ("encodec", {"sample_rate": "${nothing.here}"}, "and no nothing.here"),
        ("encodec", {"sample_rate": "${oc.env:HOME}"}, "only references such as"),
        ("encodec", {"sample_rate": 0}, "sampling_rate is 0"),
        ("encodec", {"quantizer": "no_quant"}, "this codec takes 'rvq' alone"),
        ("seanet", {"pad_mode": "sideways"}, "pad_mode 'sideways'; accepted are constant"),
        ("seanet", {"activation": "SiLU"}, "this codec takes 'ELU' alone"),
        ("seanet", {"ratios": [4, 4, 4, 4]}, "lack|do not have the shapes"),
        ("seanet", {"ratios": []}, "ratios"),
        ("seanet", {"ratios": [4, 0, 2]}, "samples of a frame"),
        ("seanet", {"n_filters": 8}, "do not have the shapes"),
        ("seanet", {"dimension": "wide"}, "hidden_size 'wide'"),
        ("seanet", {"norm": "none"}, "norm"),
        ("seanet", {"lstm": 1}, "no place for"),
        ("seanet", {"n_residual_layers": 10**6}, "many more layers"),
        ("seanet", {"true_skip": "perhaps"}, "true_skip"),
    ],
)
def test_configs_that_cannot_be(tmp_path, part, changes, told):
    folder = published_codec(tmp_path, lambda config: config[part].update(changes))
    with pytest.raises(mgt_core.MGTError, match=told) as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"normalize": True}, "normalizes or cuts sound"),
        ({"chunk_length_s": 1, "overlap": 0.01}, "normalizes or cuts sound"),
        ({"audio_channels": 2}, "a codec of 2 channels"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_transformers_configs_that_cannot_be(tmp_path, changes, told):
    folder = converted_codec(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(mgt_core.MGTError, match=told):
        loaded(folder)


def test_a_folder_without_its_config_is_told(tmp_path):
    folder = published_codec(tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(mgt_core.MGTError, match="config.json is missing"):
        loaded(folder)


@pytest.mark.parametrize("scheme", ["w8a16", "fp8", "w4a16"])
def test_it_is_not_packed(scheme):
    check(lambda: mgt_core.quantize_codec(CODEC, scheme), ("codec",))
    assert mgt_core.quantize_codec(CODEC, "none") is CODEC

"""The sound model's recipe: data, computed tokens, masking, training of both parts, the published layout, the judge."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from recipe.sound import bank, codebooks, codec_training, evaluate, training
from recipe.sound.codec import BOOKS, CODES
from recipe.sound.judge import interval, judge, scores
from recipe.sound.layout import export
from recipe.sound.masking import hide, spans
from recipe.sound.melodies import (
    FRAMES,
    HOP,
    RATE,
    TEMPI,
    caption,
    combinations,
    draw,
    every_sound,
    is_held_out,
    render,
)
from recipe.sound.network import CONTEXT, MASK_ID, SPAN, SoundNetwork
from recipe.sound.text import encode, new_tokenizer
from support.device import DEVICE, HERE

pytest.importorskip("transformers")
SLOW_BELL = ("rising scale", "bell", "slow")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A training of a few steps: books, codec.pt, network.pt."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebooks, "SOUNDS", 40)
        patch.setattr(codebooks, "ROUNDS", 2)
        patch.setattr(codec_training, "MEASURED", 2)
        patch.setattr(training, "BATCH", 4)
        codec_training.train_codec(folder, steps=2, minutes=None)
        training.train_network(folder, bank.build_bank(folder, 8), steps=2, minutes=None)
    return folder


@pytest.fixture(scope="module")
def exported(work):
    folder = work / "model"
    parts = training.load_network(work).state_dict(), codec_training.load_codec(work), codebooks.load_books(work)
    export(folder, *parts)
    return folder


def sounds(*wanted, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([render(draw(rng, combination)) for combination in wanted]))


# Data


def test_captions_tell_every_combination_apart():
    captions = [caption(*combination) for combination in combinations()]
    assert len(set(captions)) == len(captions) == 48
    assert "an arpeggio on an organ" == caption("arpeggio", "organ")
    held_out = [combination for combination in combinations() if is_held_out(combination)]
    assert 5 <= len(held_out) <= 12
    for part in range(3):
        shown = {combination[part] for combination in combinations() if not is_held_out(combination)}
        assert {combination[part] for combination in held_out} <= shown, "every word is trained on"


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(combinations()), st.integers(0, 2**32 - 1))
def test_every_drawn_sound_is_one_of_those_there_are(combination, seed):
    sound = draw(np.random.default_rng(seed), combination)
    assert sound in every_sound(combination) and sound.caption == caption(*combination)
    wave = render(sound)
    assert wave.shape == (FRAMES * HOP,) and wave.dtype == np.float32 and 0.05 < np.abs(wave).max() < 1


def test_training_never_draws_what_is_held_out():
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(300)]
    assert not any(is_held_out((sound.melody, sound.timbre, sound.tempo)) for sound in drawn)


def test_a_held_note_looks_the_same_in_every_frame():
    frames = render(draw(np.random.default_rng(0), ("repeated note", "flute", "slow"))).reshape(FRAMES, HOP)
    assert TEMPI["slow"] == 12 and np.abs(frames[3] - frames[10]).max() < 1e-5 < np.abs(frames[3]).max()
    assert np.abs(frames[0] - frames[3]).max() > 0.1, "but for its beginning"


# Tokens


def test_computed_tokens_tell_frames_apart(work):
    books = codebooks.load_books(work)
    waves = sounds(SLOW_BELL, ("rising scale", "organ", "slow"))[:, None]
    latents = books.latents(waves)
    tokens = books.tokens(latents)
    assert tokens.shape == (2, BOOKS, FRAMES) and tokens.max() < CODES
    errors = [(latents - books.codes[0][tokens[:, 0]]).square().mean()]
    for book in range(1, BOOKS):
        held = sum(books.codes[k][tokens[:, k]] for k in range(book + 1))
        errors.append((latents - held).square().mean())
    assert errors[-1] < 0.1 * latents.square().mean() and errors == sorted(errors, reverse=True)
    assert torch.allclose(books.vectors(tokens).transpose(1, 2), held)
    assert not torch.equal(tokens[0], tokens[1])


def test_bank_has_as_many_sounds_of_each_combination(work):
    held = bank.build_bank(work, 22, held_out=True)
    assert held.tokens.shape == (22, BOOKS, FRAMES) and set(held.combination.bincount().tolist()) == {0, 2}
    assert all(is_held_out(combinations()[row]) for row in held.combination.tolist())
    assert torch.equal(bank.build_bank(work, 22, held_out=True).tokens, held.tokens), "kept in the folder"


# Masking


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(SPAN, 40), st.integers(0, BOOKS - 1), st.integers(0, 2**31))
def test_later_books_are_hidden_and_earlier_ones_known(batch, frames, stage, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(CODES, (batch, BOOKS, frames), generator=generator)
    made = hide(tokens, generator, stage)
    assert made.mask.any(1).all() and (made.stages == stage).all()
    assert torch.equal(made.tokens[:, :stage], tokens[:, :stage])
    asked = made.tokens[:, stage]
    assert (asked[made.mask] == MASK_ID).all() and torch.equal(asked[~made.mask], tokens[:, stage][~made.mask])
    later, wanted = made.tokens[:, stage + 1 :], tokens[:, stage + 1 :]
    assert ((later == MASK_ID) | (later == wanted)).all()
    assert (later.transpose(1, 2)[made.mask] == MASK_ID).all(), "nothing later is known where this book is not"


def test_spans_are_hidden_as_a_whole():
    mask = spans(64, 30, torch.Generator().manual_seed(0))
    edges = mask.long().diff(dim=1).ne(0)
    inner = [row.nonzero()[:, 0].diff().tolist() for row in edges]
    assert any(inner) and all(gap % SPAN == 0 for row in inner for gap in row)
    assert 0.5 < mask.float().mean() < 0.75, "2 / pi"


# Network


def test_later_books_see_near_frames_alone():
    torch.manual_seed(0)
    network = SoundNetwork().eval()
    tokens, (hidden, shown) = torch.randint(CODES, (1, BOOKS, 60)), encode(["a bell"])
    other = tokens.clone()
    other[:, :, 40] = (other[:, :, 40] + 1) % CODES
    with torch.no_grad():
        apart = [
            (network(other, hidden, shown, stage) - network(tokens, hidden, shown, stage)).abs().amax(-1)[0]
            for stage in (torch.tensor([0]), torch.tensor([1]))
        ]
    reach = CONTEXT * len(network.transformer["layers"])
    assert apart[0][40 - reach - 1] > 0 and apart[1][40 - reach - 1] == 0 < apart[1][40 - CONTEXT]


def test_an_empty_text_adds_nothing_and_a_shorter_one_is_as_alone():
    torch.manual_seed(0)
    network, tokens, stage = SoundNetwork().eval(), torch.randint(CODES, (1, BOOKS, 12)), torch.tensor([0])
    hidden, shown = encode(["a slow trill on a flute", "a waltz"])
    alone, its = encode(["a waltz"])
    with torch.no_grad():
        assert torch.allclose(
            network(tokens, hidden[1:], shown[1:], stage), network(tokens, alone, its, stage), atol=1e-5
        )
        none = network(tokens, hidden[:1], 0 * shown[:1], stage)
        assert torch.allclose(none, network(tokens, 0 * alone, 0 * its, stage), atol=1e-5)


def test_every_word_of_captions_is_one_token_and_any_text_encodes():
    tokenizer = new_tokenizer()
    assert len(tokenizer("a slow rising scale on a bell").input_ids) == 8
    assert len(tokenizer("Ünknown wörds, 3!").input_ids) > 8
    assert tokenizer.convert_ids_to_tokens(tokenizer("harp").input_ids) == ["▁harp", "</s>"]


# Training and layout


def test_trainings_go_on_where_they_stopped(work, tmp_path, monkeypatch):
    monkeypatch.setattr(codec_training, "MEASURED", 2)
    monkeypatch.setattr(training, "BATCH", 4)
    for name in ("books.pt", "bank.pt", "codec_state.pt", "network_state.pt"):
        (tmp_path / name).write_bytes((work / name).read_bytes())
    codec_training.train_codec(tmp_path, steps=3, minutes=None)
    training.train_network(tmp_path, bank.build_bank(tmp_path, 8), steps=3, minutes=None)
    for name in ("codec_state.pt", "network_state.pt"):
        assert torch.load(tmp_path / name, weights_only=True)["step"] == 3
    assert json.loads((tmp_path / "codec.json").read_text())["steps"] == 3
    before, after = (torch.load(folder / "codec.pt", weights_only=True) for folder in (work, tmp_path))
    still = {name for name in before if torch.equal(before[name], after[name]) and before[name].is_floating_point()}
    assert {name for name in still if name.startswith("encoder")} == {
        n for n in before if n.startswith("encoder") and ".lstm." in n
    }


def test_the_pack_computes_what_was_trained(work, exported):
    """The exported folder, loaded by the pack, has the same logits, codes and waves as the recipe's own networks."""
    pipe = mgt_core.load(exported, **HERE)
    assert pipe.model.sample_rate == RATE and pipe.codec.scale == HOP and pipe.codec.books == BOOKS
    ours, books = codec_training.load_codec(work), codebooks.load_books(work)
    wave = sounds(SLOW_BELL)[:, None, : 20 * HOP]
    with torch.no_grad():
        found = books.tokens(ours.encoder(wave).transpose(1, 2))
        made = ours.decoder(books.vectors(found))
    assert torch.equal(pipe.codec.encode(wave.to(DEVICE)).cpu(), found)
    assert torch.allclose(pipe.codec.decode(found.to(DEVICE)).cpu(), made, atol=1e-5)

    trained, text = training.load_network(work), ["a slow trill on a flute"]
    hidden, shown = encode(text)
    condition = pipe.text.encode(text)
    assert torch.allclose(condition.hidden.float().cpu(), hidden, atol=1e-5)
    tokens = torch.where(torch.rand(1, BOOKS, 20) < 0.5, MASK_ID, found)
    for stage in range(BOOKS):
        with torch.no_grad():
            wanted = trained(tokens, hidden, shown, torch.tensor([stage]))
        view = pipe.model.network.at_stage(stage, tokens.to(DEVICE))
        row = tokens[:, stage : stage + 1].to(DEVICE)
        with torch.inference_mode():
            features = view.features(row, torch.ones(1, device=DEVICE), view.prepare(condition.to(DEVICE), (1, 20)))
            logits = view.head(features)
        assert torch.allclose(logits.float().cpu().view_as(wanted), wanted, atol=1e-4)


def test_captions_are_played(exported):
    pipe = mgt_core.load(exported, **HERE)
    waves = evaluate.generate(pipe, [SLOW_BELL], 2, steps=4)
    frames = FRAMES - FRAMES % SPAN  # spans are whole
    assert waves.shape == (2, frames * HOP) and waves.isfinite().all() and not torch.equal(*waves)


# The judge


def test_judge_hears_what_was_rendered():
    wanted = [combination for combination in combinations() if is_held_out(combination)]
    waves = sounds(*wanted)
    verdicts = judge(waves)
    assert all(
        verdict.agrees(asked)["all three"] and verdict.residual < 1e-3 for verdict, asked in zip(verdicts, wanted)
    )
    noisy = judge(waves + 0.02 * torch.randn(waves.shape, generator=torch.Generator().manual_seed(0)))
    assert all(verdict.agrees(asked)["all three"] for verdict, asked in zip(noisy, wanted))
    figures = scores(waves, [*wanted[:-1], SLOW_BELL])
    assert figures["all three"].startswith(f"{len(wanted) - 1} of {len(wanted)} (")


def test_interval_is_wilsons():
    assert interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert interval(10, 10)[1] == pytest.approx(1) and interval(0, 10)[0] == pytest.approx(0)

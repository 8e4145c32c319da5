"""torch.compile as an option: the same tokens, whatever the sizes, and a way on where it cannot compile."""

import copy
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.patches import compile as compiling
from support.device import agree
from support.golden import bundles, pipeline

PIPE = pipeline(bundles()[0])
NOT_REALLY = "eager"  # traced and guarded as with inductor, which takes a minute more


def warnings(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name == compiling.__name__]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def run(model, grid=(4, 6), batch=1, **settings):
    state = mgt_core.empty_state(batch, grid, model.mask_id, model.codebook_size)
    text = [PIPE.text.encode([prompt]) for prompt in ("a cat", "")]
    return mgt_core.sample(model, state, *text, **{"steps": 2, "cfg": 3.0, "seed": 5, **settings})


def test_same_tokens_at_changing_sizes_and_batches(caplog):
    model = PIPE.model.with_compile(backend=NOT_REALLY)
    for grid, batch in (((4, 6), 1), ((6, 4), 1), ((8, 8), 2), ((4, 6), 1)):
        found, wanted = run(model, grid, batch), run(PIPE.model, grid, batch)
        assert agree(found.tokens, wanted.tokens)
        torch.testing.assert_close(found.confidence, wanted.confidence, atol=1e-4, rtol=0)
    assert not warnings(caplog) and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


def test_the_network_is_shared_and_no_model_changes():
    model = PIPE.model.with_compile(backend=NOT_REALLY)
    assert model.network is PIPE.model.network and PIPE.model.patch("compile") is None
    assert model.with_token_merging(0.5).patch("compile") is model.patch("compile")
    assert "Compile(mode='default'" in model.attached()[0]
    made = model.patch("compile").features(model.network)
    assert model.patch("compile").features(model.network) is made


def test_networks_of_loras_that_are_gone_do_not_pile_up():
    model = PIPE.model.with_compile(backend=NOT_REALLY)
    for _ in range(4):
        assert agree(run(replace(model, network=copy.copy(model.network))).tokens, run(PIPE.model).tokens)
    assert len(model.patch("compile")._made) == compiling.MOST


def test_merging_runs_as_it_is():
    merging = {"ratio": 0.5, "blocks": "all"}
    found = run(PIPE.model.with_compile(backend=NOT_REALLY).with_token_merging(**merging))
    assert agree(found.tokens, run(PIPE.model.with_token_merging(**merging)).tokens)


def test_one_warning_where_it_cannot_compile(monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("no compiler was found")

    monkeypatch.setattr(torch, "compile", lambda function, **options: fail)
    model = PIPE.model.with_compile()
    for _ in range(2):
        assert agree(run(model).tokens, run(PIPE.model).tokens)
    (message,) = warnings(caplog)
    assert "cannot be compiled here" in message and "no compiler was found" in message


def test_a_fault_of_the_network_is_not_blamed_on_compilation(monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(PIPE.model.network, "features", fail)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        run(PIPE.model.with_compile(backend="eager"))
    assert not warnings(caplog)


@pytest.mark.parametrize("settings", [{"mode": "fast"}, {"backend": "gcc"}])
def test_unknown_settings(settings):
    (name, value), *_ = settings.items()
    first = getattr(compiling, f"{name.upper()}S")[0]
    with pytest.raises(mgt_core.MGTError, match=f"compile {name} is '{value}'; accepted are {first}"):
        PIPE.model.with_compile(**settings)


def test_steps_with_a_token_cache_are_compiled(caplog):
    cached = PIPE.model.with_token_cache(0.25, every=3)
    model = cached.with_compile(backend=NOT_REALLY)
    for grid, batch in (((8, 8), 1), ((8, 8), 2)):
        found, wanted = (run(m, grid, batch, steps=7) for m in (model, cached))
        assert torch.equal(found.tokens, wanted.tokens)
    made = torch._dynamo.utils.counters
    assert not warnings(caplog) and made["stats"]["unique_graphs"] > 0 and not made["graph_break"]

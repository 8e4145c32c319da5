"""Class labels: found by name, sent through ComfyUI's conditioning, refused where they have no meaning."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core.conditioning.imagenet import choices, class_names, find_class, synonyms
from mgt_core.loading.layouts import BUILT_IN
from support.bundles import amused_bundle, halton_bundle, openmuse_bundle
from support.device import HERE
from support.fake_comfy import FakeFolderPaths
from support.golden import bundles, pipeline
from support.node_runs import run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]
condition_from = sys.modules[f"{ALIAS}.nodes.conditioning"].condition_from


@pytest.mark.parametrize(
    "query, label",
    [
        ("tench", 0),
        ("Golden Retriever", 207),
        ("  golden   retriever ", 207),
        ("207", 207),
        ("207: golden retriever", 207),
        ("Carassius auratus", 1),
        ("bird crane", 134),
        ("retriever labrador", 208),
        ("no class", mgt_core.UNCONDITIONAL),
        ("1000", 1000),  # which classes there are is the model's to say
    ],
)
def test_a_class_is_found(query, label):
    assert find_class(query) == label


@pytest.mark.parametrize(
    "query, words",
    [
        ("crane", r"134 \(crane\), 517 \(crane\)"),
        ("cat", "give one of these numbers"),
        ("goldan retriever", "near are golden retriever"),
        ("qqqqqq", "none of the 1,000"),
        ("", "none of the 1,000"),
        ("-3", "none of the 1,000"),
        ("2.5", "none of the 1,000"),
    ],
)
def test_what_is_no_class_is_answered_in_one_sentence(query, words):
    with pytest.raises(mgt_core.MGTError, match=words) as caught:
        find_class(query)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_every_class_is_found_by_what_the_widget_holds():
    assert len(class_names()) == 1000 and len(choices()) == len(set(choices())) == 1001
    assert [find_class(choice) for choice in choices()] == list(range(-1, 1000))


@given(st.sampled_from(synonyms()))
def test_every_name_finds_its_class_or_names_the_others(name):
    holders = [label for label, names in enumerate(class_names()) if name in names.casefold()]
    try:
        assert find_class(name.upper()) in holders
    except mgt_core.MGTError as error:
        assert "give one of these numbers" in str(error)


@given(st.text(max_size=30))
def test_any_text_gives_a_label_or_a_sentence(text):
    try:
        assert find_class(text) >= mgt_core.UNCONDITIONAL
    except mgt_core.MGTError as error:
        assert "\n" not in str(error)


# The node


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models of the other families under models/mgt, as MGT Load Model lists them."""
    root = tmp_path_factory.mktemp("models") / "mgt"
    openmuse_bundle(root / "maskgit")
    halton_bundle(root / "halton")
    halton_bundle(root)
    amused_bundle(root / "amused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "folder_paths", FakeFolderPaths(root.parent, mgt=[root]))
        yield patch


def test_every_layout_is_listed(models):
    assert list(host.bundles()) == [*BUILT_IN, "amused", "halton/ImageNet_tiny.pth", "maskgit", "ImageNet_tiny.pth"]


def test_loose_parts_are_a_model_unless_they_lie_among_others(models, tmp_path):
    openmuse_bundle(tmp_path / "mgt")
    models.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, mgt=[tmp_path / "mgt"]))
    assert list(host.bundles()) == [*BUILT_IN, "mgt"]


@pytest.fixture(scope="module")
def halton(tmp_path_factory):
    return host._place(mgt_core.load(halton_bundle(tmp_path_factory.mktemp("halton")), **HERE))


def label(*names: str):
    first, *more = names
    return run("MGTClassLabel", label=first, more_labels="\n".join(more))


def graph(model, positive, negative="no class", batch=1):
    return {
        "model": model,
        "positive": positive,
        "negative": label(negative)[0],
        "tokens": run("MGTEmptyTokens", model=model, width=16, height=16, batch_size=batch)[0],
        "schedule": run("MGTMaskSchedule")[0],
        "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0, temperature_end=0.0)[0],
        "steps": 4,
        "cfg": 2.0,
    }


def test_labels_make_a_batch(halton):
    positive, count = label("3", "4", "5")
    assert count == 3
    tokens = run("MGTSample", **graph(halton.model, positive, batch=count))[0]
    direct = mgt_core.sample(
        halton.model,
        mgt_core.empty_tokens(halton, 16, 16, 3),
        mgt_core.Condition(labels=torch.tensor([3, 4, 5])),
        mgt_core.Condition(labels=torch.tensor([-1])),
        sampler="maskgit",
        schedule="cosine",
        steps=4,
        cfg=2.0,
        temperature=(2.0, 0.0),
    )
    assert torch.equal(tokens.tokens, direct.tokens)
    image = run("MGTDecode", tokens=tokens, codec=halton.codec)[0]
    assert image.shape == (3, 16, 16, 3)


def test_one_label_serves_a_batch(halton):
    tokens = run("MGTSample", **graph(halton.model, label("3")[0], batch=2))[0].tokens
    assert not torch.equal(tokens[0], tokens[1])


def test_zeroed_out_is_no_class(halton):
    (hidden, extra), *_ = label("3")[0]
    zeroed = [[torch.zeros_like(hidden), {**extra}]]
    condition = condition_from(zeroed, "positive", (16, 16), 2)
    assert condition.labels.tolist() == [mgt_core.UNCONDITIONAL] and condition.hidden is None


def test_averaged_labels_are_refused():
    (hidden, extra), *_ = label("3")[0]
    with pytest.raises(mgt_core.MGTError, match="mixes classes"):
        condition_from([[hidden * 0.5 + 4, extra]], "positive", (16, 16), 2)


def test_the_wrong_kind_of_conditioning_is_named(halton):
    text = pipeline(bundles()[0])
    prompt = run("MGTTextEncode", text="a cat", text_encoder=text.text)[0]
    with pytest.raises(mgt_core.MGTError, match=r"positive condition is a prompt.*class labels \(0 to 9\)"):
        run("MGTSample", **graph(halton.model, prompt))
    unit = text.model.pixels_per_token * text.model.grid_multiple
    tokens = run("MGTEmptyTokens", model=text.model, width=unit, height=unit, batch_size=1)[0]
    inputs = {**graph(halton.model, label("3")[0]), "model": text.model, "tokens": tokens}
    with pytest.raises(mgt_core.MGTError, match="positive condition is a class label, and this model takes prompts"):
        run("MGTSample", **inputs)
    with pytest.raises(mgt_core.MGTError, match="MGT Class Label"):
        run("MGTTextEncode", text="a cat", text_encoder=halton.text)


def test_labels_that_the_model_lacks_are_named(halton):
    with pytest.raises(mgt_core.MGTError, match="label 207; accepted are 0 to 9"):
        run("MGTSample", **graph(halton.model, label("golden retriever")[0]))


def test_a_model_without_no_class_says_so(tmp_path):
    pipe = mgt_core.load(openmuse_bundle(tmp_path), **HERE)
    with pytest.raises(mgt_core.MGTError, match="negative condition asks for no class"):
        run("MGTSample", **graph(pipe.model, label("3")[0]))
    for cfg in (1.0, -1.0):  # as the model recommends, which is none
        assert not run("MGTSample", **{**graph(pipe.model, label("3")[0]), "cfg": cfg})[0].masked.any()
    assert not run("MGTSample", **graph(pipe.model, label("3")[0], "4"))[0].masked.any()

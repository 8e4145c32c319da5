"""The laboratory's nodes: a graph of them from the model to the report."""

import pytest

from mgt_core import MGTError
from mgt_core.lab.choices import ERRORS, TRUTHS
from support.node_runs import NODES, inputs, run


def test_widgets_offer_what_there_is():
    offered = inputs(NODES["MGTLaboratoryModel"])
    assert offered["truth"][0] == list(TRUTHS) and offered["error"][0] == list(ERRORS)


def test_from_the_model_to_the_report():
    settings = {"truth": "Potts field, 3 x 3", "batch_size": 24}
    model, positive, negative, tokens = run("MGTLaboratoryModel", **settings)
    assert tokens.tokens.shape == (24, 3, 3)
    wired = {"model": model, "positive": positive, "negative": negative, "tokens": tokens}
    (noisy,) = run("MGTNoiseRegularization", model=model)
    drawn = run("MGTSample", **wired | {"model": noisy}, steps=3, cfg=2.0)[0]
    image, text = run("MGTLaboratoryReport", model=noisy, tokens=drawn)
    assert image.ndim == 4 and "24 pictures" in text and "nats a token" in text


def test_what_acts_inside_a_network_is_refused():
    model = run("MGTLaboratoryModel")[0]
    with pytest.raises(MGTError, match="token merging does not work with"):
        run("MGTTokenMerging", model=model)

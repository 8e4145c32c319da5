"""What nodes tell at their end: sentences that the host keeps with their outputs, and shows again without a run."""

import sys
from types import SimpleNamespace

import pytest

from support.golden import bundles, pipeline
from support.node_runs import NODES, answer, run
from support.pack import ALIAS

PIPE = pipeline(bundles()[0])
SHORT = {"scheme": "w4a8", "prompts": "a cat", "steps": 2, "states": 1}
host = sys.modules[f"{ALIAS}.nodes.host"]


@pytest.fixture
def sent(monkeypatch) -> list:
    """What goes to a front end while a node runs."""
    sent = []
    instance = SimpleNamespace(client_id="me", send_progress_text=lambda *given: sent.append(given))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance)))
    return sent


def laboratory() -> dict:
    model, positive, negative, tokens = run("MGTLaboratoryModel", truth="Potts field, 3 x 3", batch_size=20)
    wired = {"model": model, "positive": positive, "negative": negative, "tokens": tokens}
    return {"model": model, "tokens": run("MGTSample", **wired, steps=2)[0]}


GIVEN = {
    "MGTDescribeModel": lambda: {"model": PIPE.model},
    "MGTSCQCalibrate": lambda: {"model": PIPE.model, "text_encoder": PIPE.text, **SHORT},
    "MGTSaveModel": lambda: {"model": PIPE.model, "codec": PIPE.codec, "name": "a", "text_encoder": PIPE.text},
    "MGTPreset": lambda: {"model": PIPE.model, "preset": "built-in"},
    "MGTClassLabel": lambda: {"label": "1", "more_labels": "no class"},
    "MGTLaboratoryReport": laboratory,
}
TOLD = {
    "MGTDescribeModel": "Nothing is attached.",
    "MGTSCQCalibrate": "Largest errors of a layer's output: ",
    "MGTSaveModel": ", which MGT Load Model lists after a refresh.",
    "MGTPreset": "The preset built-in was made for models of 1024 codes; this one has ",
    "MGTClassLabel": "1. goldfish",
    "MGTLaboratoryReport": "nats a token",
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_report(name, monkeypatch, tmp_path, sent):
    """Once, in plain words: what is sent while it runs is not the same text again."""
    monkeypatch.setattr(host, "PACK", tmp_path) if name == "MGTSaveModel" else None
    given = GIVEN[name]()
    answered = answer(name, **given)
    ((text,),) = answered["ui"].values()
    assert TOLD[name] in text and not set("|{}<>*") & set(text), "a field shows it as it is"
    assert len(answered["result"]) == len(NODES[name].RETURN_TYPES)
    assert sent == []


def test_a_report_is_told_again_where_the_host_need_not_run_the_node():
    """Output nodes always are; others where newer hosts look for this."""
    for name in GIVEN:
        assert getattr(NODES[name], "OUTPUT_NODE", False) or NODES[name].HAS_INTERMEDIATE_OUTPUT, name


def test_notes_of_a_run_are_sent_at_once(sent):
    host.show_text("a line\nand another", "5")
    assert sent == [("a line  \nand another", "5", "me")]  # Markdown, which keeps the end of a line behind two blanks
    host.show_text("of a script", None)
    assert len(sent) == 1

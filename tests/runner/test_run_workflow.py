"""run_workflow.py in process: what it runs, and what it says meanwhile."""

import json
import subprocess
import sys

import pytest

import run_workflow
from runner.local import NodeFailedError, execute
from support.fake_nodes import chain, change, make, show
from support.prompts import MAKE, api, made


def test_each_node_runs_once_and_only_if_needed(command, calls):
    graph = chain(change(2, 1), extra={})
    graph["nodes"] += [make(8), show(4, 4)]
    graph["links"] += [[4, 2, 0, 4, 0, "THING"]]
    code, _, err = command(graph)
    assert (code, err) == (0, "")
    assert [name for name, _ in calls] == ["Make", "Change", "Show", "Show"]
    assert calls[1][1] == {"thing": "cat", "seed": 7, "steps": 12, "id": "2"}
    assert calls[2] == ("Show", "cat+7")


def test_values_arrive_in_the_declared_type(command, calls):
    command(made(amount="4", ratio=1, text=5))
    (_, given), *_ = calls
    assert given == {**MAKE, "amount": 4, "ratio": 1.0, "text": "5"}


def test_a_list_output_runs_the_next_node_per_item(command, calls):
    command(
        api(
            n1=("Listed", {}),
            n2=("Change", {"thing": ["1", 0], "seed": 1, "steps": 2}),
            n3=("Show", {"thing": ["2", 0]}),
        )
    )
    assert [given for name, given in calls if name == "Show"] == ["a+1", "b+1", "c+1"]


def test_a_failing_node_is_named(command):
    code, out, err = command(chain(change(2, 1, title="Fuse")), "--set", "1.text=explode")
    assert (code, out, err) == (1, "", 'Node 2 "Fuse" (Change): the fuse was lit\n')


def test_a_failing_node_keeps_its_cause(library):
    prompt = run_workflow.to_api(chain(change(2, 1, title="Fuse")), library.object_info)
    prompt["1"]["inputs"]["text"] = "explode"
    with pytest.raises(NodeFailedError) as failure:
        execute(prompt, library)
    assert isinstance(failure.value.__cause__, ValueError)


def test_the_command_runs_anywhere(tmp_path):
    """From another folder, with a prompt that needs the pack: refused for its own fault, not for an import."""
    file = tmp_path / "w.json"
    file.write_text(
        json.dumps(api(n1=("MGTDecode", {}), n2=("SaveImage", {"images": ["1", 0], "filename_prefix": "x"})))
    )
    ran = subprocess.run(
        [sys.executable, run_workflow.__file__, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 1
    assert "Node 1 (MGTDecode): Required input is missing: tokens." in ran.stderr, ran.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_steps_reach_the_bar(command, library, capsys):
    """The hook of the pack's nodes draws a bar labelled with the node's title."""
    host = sys.modules["mgt_pack.nodes.host"]

    class Slow:
        RETURN_TYPES = ()
        FUNCTION = "run"
        OUTPUT_NODE = True
        INPUT_TYPES = classmethod(lambda cls: {"required": {}, "hidden": {"unique_id": "UNIQUE_ID"}})

        def run(self, unique_id):
            progress = host.Progress(3, unique_id)
            for done in (1, 2, 3):
                progress.update(done, 3)

    library.classes["Slow"] = Slow
    library.object_info["Slow"] = {"input": Slow.INPUT_TYPES(), "output": [], "output_node": True}
    prompt = {"4": {"class_type": "Slow", "inputs": {}, "_meta": {"title": "Slowly"}}}
    _, _, err = command(prompt)
    assert "Slowly" in err and "3/3" in err
    _, _, err = command(prompt, "--quiet")
    assert err == ""

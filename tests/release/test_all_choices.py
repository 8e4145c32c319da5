"""The workflow that joins all choices joins every patch."""

import json

from run_workflow import to_api
from runner.images import Folders
from runner.local import Library
from support.node_runs import NODES
from support.workflow_files import workflow

ALL_CHOICES = workflow("all_choices")
PATCHES = {name for name, cls in NODES.items() if cls.CATEGORY == "MGT/patches"}
# The first takes the place of the token cache, which is there; the second is for models of sound.
PATCHES -= {"MGTMLCache", "MGTStageSteps"}


def test_all_choices_joins_every_patch(tmp_path):
    """On one chain from the loader to the sampler."""
    graph = json.loads(ALL_CHOICES.read_text())
    prompt = to_api(graph, Library.of_pack(Folders((), tmp_path)).object_info)
    found = []
    source = next(node for node in prompt.values() if node["_meta"]["title"] == "All choices")
    while source["class_type"] != "MGTLoadModel":
        source = prompt[source["inputs"]["model"][0]]
        found.append(source["class_type"])
    missing = sorted(PATCHES - set(found))
    assert missing == [], f"add them to workflows/{ALL_CHOICES.name}, then run ./mgt pictures all_choices"
    assert sorted(found[:-1]) == sorted(PATCHES)

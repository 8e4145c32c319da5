"""The workflow files, and copies of them that run in a moment."""

import copy
import json
from pathlib import Path

WORKFLOWS = sorted((Path(__file__).resolve().parent.parent / "workflows").glob("*.json"))
# Where `widgets_values` holds what decides how long a run takes; "fixed" follows the seed.
STEPS, BATCH = ("MGTSample", 2), ("MGTEmptyTokens", 2)


def name(path) -> str:
    return path.stem


def shortened(graph: dict, steps: int = 2) -> dict:
    """The graph (UI format) with few steps and one image a run."""
    graph = copy.deepcopy(graph)
    for node in graph["nodes"]:
        for (kind, place), value in ((STEPS, steps), (BATCH, 1)):
            if node["type"] == kind:
                node["widgets_values"][place] = value
    return graph


def read(path, steps: int = 2) -> dict:
    """The file's graph, shortened."""
    return shortened(json.loads(path.read_text()), steps)

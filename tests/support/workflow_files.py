"""The workflow files, and copies of them that run in a moment."""

import copy
import json
from pathlib import Path

from runner.titles import short_name

from .pack import ROOT
from .stand_ins import NO_PICTURES, STAND_INS

WORKFLOWS = sorted(path for path in (ROOT / "workflows").glob("*.json") if not path.is_symlink())
# As releases left them, by version: nodes have got more widgets and outputs since.
SAVED = sorted((ROOT / "tests" / "saved_workflows").glob("*/*.json"))
THUMBNAIL_SIDE = 256  # pixels
# Where `widgets_values` holds what decides how long a run takes; "fixed" follows the seed.
STEPS, BATCH = ("MGTSample", 2), ("MGTEmptyTokens", 2)
SOUND, BOOKS = "MGTEmptySound", 4  # whose tokens take a step a code book
WORDS = "MGTCaption", 3  # steps of captions
SCALED = "ImageScale", slice(1, 3)
LABORATORY = "MGTLaboratoryModel", 3  # no smaller batch can be compared with a distribution
CALIBRATION = {("MGTSCQCalibrate", 7): 2, ("MGTSCQCalibrate", 8): 1}


def name(path) -> str:
    """text_to_image for "01 Text to image.json", whose name is its title; of what a release left, with its version."""
    return f"{path.parent.name}-{path.stem}" if path in SAVED else short_name(path.stem)


def workflow(wanted: str) -> Path:
    """The file in workflows/ of that name."""
    (path,) = [path for path in WORKFLOWS if name(path) == wanted]
    return path


def shortened(graph: dict, steps: int = 2) -> dict:
    """The graph (UI format) with few steps and one image a run, of the size that a stand-in for its model makes."""
    graph = copy.deepcopy(graph)
    models = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MGTLoadModel"]
    if any(node["type"] == SOUND for node in graph["nodes"]):
        steps = max(steps, BOOKS)
    sides = [side for model in models if (side := STAND_INS.get(model, NO_PICTURES)[1])]
    for node in graph["nodes"]:
        for (kind, place), value in {STEPS: steps, WORDS: steps, BATCH: 1, LABORATORY: 20, **CALIBRATION}.items():
            if node["type"] == kind:
                node["widgets_values"][place] = value
        if node["type"] == BATCH[0] and sides:
            node["widgets_values"][:2] = sides * 2
        if node["type"] == SCALED[0] and sides:
            node["widgets_values"][SCALED[1]] = sides * 2
    return graph


def read(path, steps: int = 2) -> dict:
    """The file's graph, shortened."""
    return shortened(json.loads(path.read_text()), steps)

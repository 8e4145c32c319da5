"""Nodes that are not there, as ComfyUI words it, and what helps: a server, or a pack that it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

from .problems import Json, Problem, listing, shown_text

CORE, OWN = "comfy-core", "masked-generative-transformers"  # as files name the packs of nodes
OWN_PREFIX = "MGT"  # of every node of this pack
# Nodes of ComfyUI itself that are known where a file does not say so, as one in API format never does.
COMFYUI = frozenset(
    "CheckpointLoaderSimple CLIPLoader CLIPSetLastLayer CLIPTextEncode CLIPVisionEncode ControlNetApply "
    "ControlNetApplyAdvanced ControlNetLoader DualCLIPLoader EmptyImage EmptyLatentImage EmptySD3LatentImage "
    "ImageBatch ImageBlend ImageBlur ImageCompositeMasked ImageCrop ImageInvert ImageScaleToTotalPixels "
    "ImageUpscaleWithModel InpaintModelConditioning KSampler KSamplerAdvanced KSamplerSelect LatentUpscale "
    "LoadImageOutput LoadLatent LoraLoader LoraLoaderModelOnly ModelSamplingFlux RandomNoise SamplerCustom "
    "SamplerCustomAdvanced SaveAnimatedPNG SaveAnimatedWEBP SaveLatent SaveVideo SetLatentNoiseMask "
    "AudioAdjustVolume AudioConcat AudioMerge EmptyAudio EmptyLatentAudio JoinAudioChannels RecordAudio "
    "SaveAudioAdvanced SaveAudioOpus SplitAudioChannels TrimAudioDuration VAEDecodeAudio VAEEncodeAudio "
    "TripleCLIPLoader unCLIPConditioning UNETLoader UpscaleModelLoader VAEDecode VAEDecodeTiled VAEEncode "
    "VAEEncodeForInpaint VAELoader".split()
)
# What stands for other nodes, by its class.
LOST = {
    re.compile(r"workflow[/>]"): "a group of nodes",
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"): "a subgraph",
}
NEAR = 0.8  # how much of a name is right in one that is near it
MOST_COMPARED = 20  # classes whose names are compared with all that are there
LONGEST = 60  # characters of a name that a file gives
HASH = 40  # characters of a commit, which stands in place of a version
SERVER = "use --server URL"


class Unknown(NamedTuple):
    """A node of a workflow. properties: as the front end saves them, where it did."""

    node_id: str
    class_type: str
    properties: Any = None


def problems(nodes: Iterable[Unknown], object_info: Json, server: bool) -> list[Problem]:
    """One for each class. server: whether the nodes of object_info are those of a server."""
    classes: dict[str, list[Unknown]] = {}
    for node in nodes:
        classes.setdefault(node.class_type, []).append(node)
    names = object_info if len(classes) <= MOST_COMPARED else ()
    return [_problem(class_type, found, names, server) for class_type, found in classes.items()]


def _problem(class_type: str, nodes: list[Unknown], names: Iterable[str], server: bool) -> Problem:
    ids = [f"'#{shown_text(node.node_id, LONGEST)}'" for node in nodes]
    where = f"Node ID{'s' if len(ids) > 1 else ''} {listing(ids, 5)}"
    shown, properties = shown_text(class_type, LONGEST), nodes[0].properties
    properties = properties if isinstance(properties, dict) else {}
    help_ = (_on_server if server else _here)(class_type, _pack(class_type, properties), _version(properties))
    if lost := next((what for pattern, what in LOST.items() if pattern.match(class_type)), ""):
        help_ = f"it is {lost} that the file does not hold, so save it once more in the browser that has it"
    elif near := get_close_matches(class_type[:LONGEST], names, 1, NEAR):
        help_ = f"the nearest name of a node that does is {near[0]}; otherwise {help_}"
    return Problem(f"Cannot execute because node {shown} does not exist", f"{where}; {help_}")


def _pack(class_type: str, properties: Json) -> str:
    """The pack of a node as its file names it, "" where nothing does."""
    for key in ("cnr_id", "aux_id"):
        if isinstance(properties.get(key), str) and properties[key].strip():
            return shown_text(properties[key], LONGEST)
    return OWN if class_type.startswith(OWN_PREFIX) else CORE if class_type in COMFYUI else ""


def _version(properties: Json) -> str:
    version = properties.get("ver")
    if not isinstance(version, str) or not version.strip():
        return ""
    return shown_text(version if len(version) != HASH else version[:7], LONGEST)


def _here(class_type: str, pack: str, version: str) -> str:
    if pack == CORE:
        return f"it is one of ComfyUI's own, which runs on a server alone, so {SERVER}"
    if pack == OWN:
        return f"this pack has no such node{f', and the file is of its version {version}' if version else ''}"
    if pack:
        return f"it is of the pack {pack}, which runs on a server alone, so {SERVER} of one that has the pack"
    others = "it is one of ComfyUI's own that runs on a server alone, or of another pack"
    return f"{others}, so {SERVER} of one that has it"


def _on_server(class_type: str, pack: str, version: str) -> str:
    if pack == CORE:
        since = f", and the file is of its version {version}" if version else ""
        return f"it is one of ComfyUI's own{since}, so update the server's ComfyUI"
    if pack == OWN:
        return "it is of this pack, so install the pack on the server, or update it there"
    if pack:
        return f"it is of the pack {pack}{f' ({version})' if version else ''}, so install that on the server"
    return "it is of a pack that the server lacks and the file does not name, so install that there"

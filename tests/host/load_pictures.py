"""Run by a Python that has ComfyUI's requirements, in its folder: what its own nodes read of the pictures in a folder.

Writes arrays by "what/file name", and whether it reads them by Pillow alone.
"""

import sys
from pathlib import Path

COMFY, FOLDER, OUT = sys.argv[1:4]
sys.argv = sys.argv[:1]
sys.path.insert(0, COMFY)
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
import folder_paths  # noqa: E402
import numpy as np  # noqa: E402

import nodes  # noqa: E402

folder_paths.set_input_directory(FOLDER)
found = {"by pillow": np.array(not hasattr(nodes, "InputImpl"))}
load, load_mask = nodes.LoadImage(), nodes.LoadImageMask()
for file in sorted(Path(FOLDER).iterdir()):
    image, mask = load.load_image(file.name)
    found[f"image/{file.name}"], found[f"mask/{file.name}"] = image.float().numpy(), mask.float().numpy()
    for channel in load_mask._color_channels:
        (own,) = getattr(load_mask, load_mask.FUNCTION)(file.name, channel)
        found[f"{channel}/{file.name}"] = own.float().numpy()
found["listed"] = np.array(load.INPUT_TYPES()["required"]["image"][0])
np.savez(OUT, **found)

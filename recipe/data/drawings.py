"""Noto emoji drawings -> `subjects.json` and sprites.

Needs `npm` (or the two unpacked packages under WORK/packages) and `resvg-py`; only the recipe does,
everything else reads the committed atlas.
"""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from .names import DROP, FAMOUS, KEEP_PEOPLE, KEEP_SYMBOLS, RENAME
from .subjects import ATLAS_CELL, Subject, save_atlas, save_subjects

log = logging.getLogger(__name__)

PACKAGES = ("@svgmoji/noto@3.2.0", "unicode-emoji-json@0.9.0")
SPRITE_SIZE = 128
SUBJECT_COUNT = 320


def fetch_packages(work: Path) -> Path:
    """Pack the two npm packages into WORK/packages and unpack them; a no-op when they are there."""
    root = work / "packages"
    root.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        name = package.lstrip("@").rsplit("@", 1)[0].replace("/", "-")
        target = root / name
        if target.exists():
            continue
        if not list(root.glob(f"{name}-*.tgz")):
            subprocess.run(["npm", "pack", package], cwd=root, check=True, stdout=subprocess.DEVNULL)
        archive = next(root.glob(f"{name}-*.tgz"))
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    return root


def read_drawings(packages: Path) -> dict[str, str]:
    """Codepoints ("1F355") -> SVG text, from the package's one sprite sheet."""
    sheet = next(packages.glob("svgmoji-noto*/package/sprites/all.svg")).read_text(encoding="utf-8")
    starts = list(re.finditer(r'<svg [^>]*id="([0-9A-F-]+)"', sheet))
    ends = [match.start() for match in starts[1:]] + [sheet.rindex("</svg>")]
    return {match.group(1): sheet[match.start() : end] for match, end in zip(starts, ends)}


def rasterize(svg: str, size: int = SPRITE_SIZE) -> np.ndarray:
    """SVG text -> [size, size, 4] uint8, straight alpha."""
    import resvg_py  # optional: only the recipe rasterizes

    if "xmlns:xlink" not in svg:  # the sheet declares it once, on its root
        svg = svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return np.asarray(image.resize((size, size)))


def _candidates(packages: Path, drawings: dict[str, str]) -> list[tuple[str, str, str]]:
    """(name, codepoints, group), the famous first, then groups from concrete to abstract."""
    entries = json.loads(next(packages.glob("unicode-emoji-json*/package/data-by-emoji.json")).read_text("utf-8"))
    skip = re.compile(
        r"o.clock|-thirty|button|keycap|\bmoon\b|speaker|person|woman|man\b|\bmen|people|oncoming|globe|medal$|"
        r"banknote|japanese|cityscape|sunrise|sunset|hear-no|speak-no|cat$| sign$|heart|circle|square|incoming"
    )
    groups = [
        "Animals & Nature",
        "Food & Drink",
        "Activities",
        "Objects",
        "Travel & Places",
        "People & Body",
        "Symbols",
        "Smileys & Emotion",
    ]
    found = {}
    for emoji, entry in entries.items():
        name = entry["name"].lower().replace("’", "'")
        codepoints = next((c for c in _spellings(emoji) if c in drawings), None)
        if codepoints is None or entry["group"] == "Flags" or not re.fullmatch(r"[a-z0-9 -]+", name):
            continue
        if name not in FAMOUS:
            if len(name.split()) > 3 or name in DROP or skip.search(name):
                continue
            if entry["group"] == "People & Body" and name not in KEEP_PEOPLE:
                continue
            if entry["group"] == "Symbols" and name not in KEEP_SYMBOLS:
                continue
        rank = (0, FAMOUS.index(name)) if name in FAMOUS else (1 + groups.index(entry["group"]), len(found))
        found.setdefault(name, (rank, codepoints, entry["group"]))
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return [(name, codepoints, group) for name, (_, codepoints, group) in ordered]


def _spellings(emoji: str) -> list[str]:
    """The package keeps or drops the variation selector FE0F as it pleases."""
    points = [f"{ord(character):04X}" for character in emoji]
    bare = [point for point in points if point != "FE0F"]
    return ["-".join(points), "-".join(bare), "-".join([*bare, "FE0F"])]


def _signature(sprite: np.ndarray) -> np.ndarray:
    """32 px composites on a light and a dark background, flattened: what "looks alike" means here."""
    small = np.asarray(Image.fromarray(sprite).resize((32, 32), Image.Resampling.LANCZOS), np.float32) / 255
    alpha = small[..., 3:]
    views = [small[..., :3] * alpha + background * (1 - alpha) for background in (0.9, 0.25)]
    return np.stack(views).reshape(-1)


def choose(names: list[str], sprites: list[np.ndarray], count: int = SUBJECT_COUNT) -> list[int]:
    """Greedy in the given order; the least distance allowed is bisected until `count` subjects fit."""
    features = np.stack([_signature(sprite) for sprite in sprites])
    squares = (features**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * features @ features.T, 0) / features.shape[1])

    def pick(least: float) -> list[int]:
        chosen: list[int] = []
        for index, name in enumerate(names):
            nearest = distances[index, chosen].min() if chosen else np.inf
            if nearest > (min(least, 0.07) if name in FAMOUS else least):
                chosen.append(index)
        return chosen

    low, high = 0.0, 0.6
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if len(pick(middle)) >= count else (low, middle)
    chosen = pick(low)
    log.info("%d subjects, least distance %.3f", len(chosen), low)
    return chosen[:count]


def build(work: Path, *, publish: bool = False) -> None:
    """Write WORK/subjects.json and WORK/sprites.npy (premultiplied, 128 px); `publish` rewrites the committed pair."""
    if (work / "sprites.npy").exists():
        return
    packages = fetch_packages(work)
    drawings = read_drawings(packages)
    listed = _candidates(packages, drawings)
    log.info("%d drawings, %d candidates", len(drawings), len(listed))
    sprites = [rasterize(drawings[codepoints]) for _, codepoints, _ in listed]
    chosen = sorted(choose([name for name, _, _ in listed], sprites))
    subjects = [Subject(RENAME.get(listed[i][0], listed[i][0]), listed[i][1], listed[i][2]) for i in chosen]
    table = np.stack([sprites[i] for i in chosen])
    np.save(work / "sprites.npy", table)
    save_subjects(subjects, work / "subjects.json")
    save_atlas(table, work / "sprites.webp", ATLAS_CELL)
    if publish:
        here = Path(__file__).parent
        save_subjects(subjects, here / "subjects.json")
        save_atlas(table, here / "sprites.webp", ATLAS_CELL)

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

from .subjects import ATLAS_CELL, Subject, save_atlas, save_subjects

log = logging.getLogger(__name__)

PACKAGES = ("@svgmoji/noto@3.2.0", "unicode-emoji-json@0.9.0")
SPRITE_SIZE = 128
SUBJECT_COUNT = 320

# What a visitor is likely to type first; kept whatever they resemble.
FAMOUS = """red heart; pizza; rocket; dog face; cat face; red apple; automobile; house; sun; star; deciduous tree;
evergreen tree; sunflower; rose; tulip; fish; tropical fish; banana; strawberry; cherries; grapes; watermelon; lemon;
pineapple; hamburger; french fries; hot dog; taco; doughnut; birthday cake; ice cream; cookie; bread; cheese wedge;
carrot; broccoli; tomato; mushroom; butterfly; honeybee; lady beetle; snail; frog; turtle; snake; octopus; crab;
penguin; owl; duck; rooster; chicken; parrot; unicorn; lion; tiger face; bear; panda; fox; rabbit face; pig face;
cow face; monkey face; elephant; giraffe; whale; dolphin; shark; spider; dragon face; ghost; skull; alien; robot;
pile of poo; jack-o-lantern; christmas tree; snowman without snow; fire; droplet; rainbow; cloud; crescent moon;
high voltage; snowflake; umbrella; airplane; bicycle; locomotive; sailboat; helicopter; bus; police car; tractor;
castle; tent; soccer ball; basketball; baseball; american football; bowling; trophy; guitar; trumpet; violin; drum;
bell; musical note; camera; television; laptop; telephone; light bulb; candle; key; hammer; scissors; pencil; book;
envelope; balloon; wrapped gift; teddy bear; crown; top hat; glasses; sunglasses; t-shirt; jeans; dress; gem stone;
bomb; anchor; magnet; syringe; hourglass done; alarm clock; watch; cactus; palm tree; maple leaf; four leaf clover;
egg; avocado; eggplant; ear of corn; popcorn; candy; lollipop; hot beverage; beer mug; wine glass; teapot; ladder;
chair; bed; toilet; door; bathtub; broom; soap; flying saucer; ringed planet; volcano; eyes; brain; tooth; nose; ear;
tongue; bone; lungs; grinning face; clown face; cowboy hat face; nerd face; ninja; mage; mermaid; octopus; check mark;
cross mark; peace symbol; yin yang; green circle; yellow square; large blue diamond; stop sign; dollar banknote;
money bag; credit card; map of japan; compass; world map; globe showing americas; santa claus; puzzle piece;
game die; video game; kite; yo-yo; boxing glove; skateboard; roller skate; ice skate; running shoe; high-heeled shoe;
umbrella on ground; lipstick; ring; backpack; handbag; purse; socks; gloves; scarf; necktie; bikini"""
KEEP_PEOPLE = """brain; tooth; nose; ear; tongue; bone; lungs; eyes; eye; mouth; footprints; anatomical heart; ninja;
mage; mermaid; santa claus; flexed biceps; thumbs up; waving hand; mechanical leg; astronaut; genie; superhero"""
KEEP_SYMBOLS = """check mark; cross mark; peace symbol; yin yang; green circle; yellow square; large blue diamond;
warning; no entry; radioactive; biohazard; recycling symbol; atom symbol; plus; red question mark; infinity;
red exclamation mark; up arrow; left arrow; wheelchair symbol; trident emblem; fleur-de-lis; play button;
eight-spoked asterisk; orthodox cross; star of david; om; menorah; hollow red circle; purple square; orange circle"""
DROP = """guide dog; service dog; horse racing; funeral urn; coffin; cigarette; hamsa; kaaba; love hotel; wedding;
tokyo tower; speaker low volume; speaker medium volume; trackball; dvd; elevator; mahjong red dragon; level slider;
nazar amulet; white cane; long drum; tamale; oden; mate; dango; kiss mark; zzz; anger symbol; hole; man's shoe;
pouring liquid; sport utility vehicle; sauropod; falafel; custard; goal net;
canned food; bento box; curry rice; cooking; carp streamer; flower playing cards; performing arts; card index dividers;
bookmark tabs; card index; card file box; locked with pen; locked with key; envelope with arrow; control knobs;
nesting dolls; diya lamp; desert; stadium; building construction; camping; convenience store; department store;
post office; construction; suspension railway; aerial tramway; mountain railway; monorail; tram; light rail;
high-speed train; railway car; metro; station; tram car; mosque; beach with umbrella; night with stars; milky way;
dizzy; sweat droplets; disguised face; alien monster; oil drum; roller coaster; computer disk; tear-off calendar;
safety vest; running shirt; musical keyboard; film projector; framed picture; collision; national park; landslide;
derelict house; shinto shrine; synagogue; hindu temple; statue of liberty; playground slide; carousel horse; rock;
trolleybus; minibus; articulated lorry; auto rickshaw; railway track; motorway; bus stop; suspension railway;
mountain cableway; horizontal traffic light; cyclone; wind face; sun behind cloud; cloud with snow; shaved ice;
stuffed flatbread; flatbread; fondue; moon cake; roasted sweet potato; sake; amphora; pine decoration; joker;
japanese dolls; wind chime; reminder ribbon; admission tickets; martial arts uniform; cricket game; field hockey;
lacrosse; badminton; flying disc; rugby football; softball; sari; kimono; one-piece swimsuit; flat shoe; thong sandal;
clutch bag; hair pick; prayer beads; postal horn; musical score; fax machine; pager; videocassette; film frames;
page with curl; page facing up; rolled-up newspaper; ledger; label; receipt; inbox tray; outbox tray; black nib;
fountain pen; file folder; open file folder; spiral notepad; spiral calendar; chart decreasing; round pushpin;
linked paperclips; file cabinet; pick; hammer and pick; hammer and wrench; clamp; alembic; petri dish; crutch;
mouse trap; lotion bottle; placard; identification card; broken chain; white flower; lotus; rosette; wilted flower;
hyacinth; sheaf of rice; nest with eggs; ox; water buffalo; ewe; two-hump camel; mammoth; boar; rat; dodo; phoenix;
fearful face; anguished face; hospital; speedboat; motor boat; ferry; hushed face; tired face; weary face;
confounded face; persevering face; pensive face; left speech bubble; right anger bubble; thought balloon; foggy; fog;
red envelope; moon viewing ceremony; tanabata tree; briefs"""
# Everyday words for drawings that Unicode names otherwise.
RENAME = {
    "automobile": "car",
    "deciduous tree": "tree",
    "evergreen tree": "pine tree",
    "locomotive": "steam train",
    "american football": "football",
    "ear of corn": "corn",
    "cheese wedge": "cheese",
    "lady beetle": "ladybug",
    "snowman without snow": "snowman",
    "hot beverage": "cup of coffee",
    "high voltage": "lightning bolt",
    "honeybee": "bee",
    "wrapped gift": "gift",
    "gem stone": "diamond",
    "hourglass done": "hourglass",
    "game die": "dice",
    "jack-o-lantern": "pumpkin",
    "pile of poo": "poo",
    "flying saucer": "ufo",
    "ringed planet": "planet",
    "large blue diamond": "blue diamond",
    "high-heeled shoe": "high heel",
    "globe showing americas": "globe",
    "dollar banknote": "dollar bill",
    "french fries": "fries",
    "hollow red circle": "red ring",
    "running shoe": "sneaker",
    "umbrella on ground": "beach umbrella",
    "mage": "wizard",
    "santa claus": "santa",
    "doughnut": "donut",
    "couch and lamp": "couch",
}


def _names(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split(";") if name.strip()]


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
    famous, people, symbols, drop = map(_names, (FAMOUS, KEEP_PEOPLE, KEEP_SYMBOLS, DROP))
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
        if name not in famous:
            if len(name.split()) > 3 or name in drop or skip.search(name):
                continue
            if entry["group"] == "People & Body" and name not in people:
                continue
            if entry["group"] == "Symbols" and name not in symbols:
                continue
        rank = (0, famous.index(name)) if name in famous else (1 + groups.index(entry["group"]), len(found))
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
    famous = set(_names(FAMOUS))
    features = np.stack([_signature(sprite) for sprite in sprites])
    squares = (features**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * features @ features.T, 0) / features.shape[1])

    def pick(least: float) -> list[int]:
        chosen: list[int] = []
        for index, name in enumerate(names):
            nearest = distances[index, chosen].min() if chosen else np.inf
            if nearest > (min(least, 0.07) if name in famous else least):
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
    save_atlas(table, work / "sprites.png", ATLAS_CELL)
    if publish:
        here = Path(__file__).parent
        save_subjects(subjects, here / "subjects.json")
        save_atlas(table, here / "sprites.png", ATLAS_CELL)

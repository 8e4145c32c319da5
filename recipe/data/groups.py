"""What captions may say instead of a subject: the name of a group that it belongs to, and the plural of a name."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from .names import listed
from .subjects import Subject

GROUPS: dict[str, tuple[str, ...]] = {
    name: tuple(listed(members))
    for name, members in {
        "animal": """
            dog face; cat face; fish; tropical fish; butterfly; bee; ladybug; snail; frog; turtle;
            snake; octopus; crab; penguin; owl; duck; rooster; chicken; parrot; unicorn; lion; tiger
            face; bear; panda; fox; rabbit face; pig face; cow face; monkey face; elephant; giraffe;
            whale; dolphin; shark; spider; dragon face; raccoon; tiger; zebra; cow; hatching chick;
            eagle""",
        "plant": """
            tree; pine tree; sunflower; rose; tulip; cactus; palm tree; maple leaf; four leaf
            clover; bouquet; hibiscus; blossom; mushroom""",
        "food": """
            pizza; red apple; banana; strawberry; cherries; grapes; watermelon; lemon; pineapple;
            hamburger; fries; hot dog; taco; donut; birthday cake; ice cream; cookie; bread; cheese;
            carrot; broccoli; tomato; egg; avocado; eggplant; corn; popcorn; candy; lollipop;
            coconut; hot pepper; leafy green; onion; pretzel; rice ball; sushi; cupcake; pie;
            chocolate bar""",
        "drink": """
            cup of coffee; beer mug; wine glass; teapot; teacup without handle; tumbler glass""",
        "vehicle": """
            rocket; car; airplane; bicycle; steam train; sailboat; helicopter; bus; police car;
            tractor; ufo; bullet train; train; ambulance; fire engine; passenger ship; small
            airplane; satellite""",
        "building": """
            house; castle; tent; houses; house with garden; hotel; school; factory; church; ferris
            wheel; fountain""",
        "smiley": """
            grinning face; clown face; cowboy hat face; nerd face; zany face; sleepy face; sneezing
            face; hot face; cold face; exploding head; partying face; loudly crying face""",
        "musical instrument": "guitar; trumpet; violin; drum; saxophone",
        "piece of clothing": """
            t-shirt; jeans; dress; bikini; shorts; socks; gloves; scarf; necktie; top hat; sneaker;
            high heel""",
        "ball": "soccer ball; basketball; baseball; football; pool 8 ball; confetti ball",
    }.items()
}
COUNTS = {2: "two", 3: "three", 4: "four"}
# Names that are plural already, or have none of their own.
PLURALS = frozenset(
    "glasses sunglasses jeans eyes scissors gloves socks fries cherries grapes footprints fireworks lungs shorts "
    "skis books houses".split()
)
IRREGULAR = {"tooth": "teeth", "leaf": "leaves", "scarf": "scarves", "snowman": "snowmen"}
UNCHANGED = frozenset("fish dice broccoli sushi swords biceps springs points bags".split())


def with_article(name: str) -> str:
    if name in PLURALS or name == "food":
        return name
    return f"an {name}" if name[0] in "aeiou" and not name.startswith(("uni", "ufo")) else f"a {name}"


def plural(name: str) -> str:
    """Of a subject's name; its head is the last word, or the last before the first "of", "with", "at"…"""
    if name in PLURALS:
        return name
    words = name.split()
    head = next((i for i, word in enumerate(words) if i and word in ("of", "with", "without", "at", "and")), len(words))
    words[head - 1] = _plural_word(words[head - 1])
    return " ".join(words)


def _plural_word(word: str) -> str:
    if word in PLURALS | UNCHANGED or word in IRREGULAR:
        return IRREGULAR.get(word, word)
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh", "tomato")) else "s")


@functools.lru_cache(maxsize=4)
def _positions(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    number = {name: index for index, name in enumerate(names)}
    return {group: tuple(number[m] for m in members if m in number) for group, members in GROUPS.items()}


def members(subjects: Sequence[Subject] | Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Positions in `subjects` of every group's members; those that the list lacks are left out."""
    return _positions(tuple(getattr(subject, "name", subject) for subject in subjects))

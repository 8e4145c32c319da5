"""Locale files of the nodes, in the form that ComfyUI's front end reads: `./mgt locales`, which makes help pages too.

English comes from the node classes. The other languages keep what was translated by hand: each text is looked up by
its English, so one that is new or was changed is left out, which ComfyUI then shows in English. It is printed here,
for a person to put in translated, and fails `./mgt release-check` until then.
"""

import json
import re

from release import make_help
from support.locales import ENGLISH, FILES, LOCALES, Tree, languages, leaves, read
from support.pack import load_pack

# Categories that the host translates itself.
HOST_CATEGORIES = {"MGT", "conditioning", "loaders", "samplers", "sampling"}


def escaped(text: str) -> str:
    """As the front end's messages want it, in which {, }, @ and | have a meaning of their own."""
    return re.sub(r"[{}@|]", lambda sign: f"{{'{sign[0]}'}}", text)


def entry(name: str, tooltip: str) -> Tree:
    return {"name": escaped(name), "tooltip": escaped(tooltip)}


def english() -> dict[str, Tree]:
    """File name -> content, from the node classes."""
    pack = load_pack()
    definitions: Tree = {}
    categories: Tree = {}
    for node_id, cls in sorted(pack.NODE_CLASS_MAPPINGS.items()):
        groups = cls.INPUT_TYPES()
        inputs = {**groups["required"], **groups.get("optional", {})}
        outputs = zip(cls.RETURN_NAMES, cls.OUTPUT_TOOLTIPS)
        definitions[node_id] = {
            "display_name": escaped(pack.NODE_DISPLAY_NAME_MAPPINGS[node_id]),
            "description": escaped(cls.DESCRIPTION),
            "inputs": {name: entry(name, options["tooltip"]) for name, (_, options) in inputs.items()},
            "outputs": {str(place): entry(name, tip) for place, (name, tip) in enumerate(outputs)},
        }
        categories |= {part: part for part in cls.CATEGORY.split("/") if part not in HOST_CATEGORIES}
    return {"main.json": {"nodeCategories": dict(sorted(categories.items()))}, "nodeDefs.json": definitions}


def translated(tree: Tree, phrases: dict[str, str]) -> Tree:
    """What has a translation."""
    found = {
        key: translated(value, phrases) if isinstance(value, dict) else phrases.get(value)
        for key, value in tree.items()
    }
    return {key: value for key, value in found.items() if value}


def missing(made: dict[tuple[str, str], Tree], language: str, file: str) -> dict[str, str]:
    """Texts without a translation: place -> English."""
    held = dict(leaves(made[language, file]))
    return {".".join(path): text for path, text in leaves(made[ENGLISH, file]) if path not in held}


def locales() -> dict[tuple[str, str], Tree]:
    """(language, file name) -> content that the files should have."""
    made = {(ENGLISH, file): tree for file, tree in english().items()}
    for language in languages():
        if language == ENGLISH:
            continue
        phrases = {}
        for file in FILES:
            known = dict(leaves(read(language, file)))
            phrases |= {text: known[path] for path, text in leaves(read(ENGLISH, file)) if known.get(path)}
        made |= {(language, file): translated(made[ENGLISH, file], phrases) for file in FILES}
    return made


def main() -> None:
    made = locales()
    for (language, file), tree in made.items():
        text = json.dumps(tree, ensure_ascii=False, indent=2) + "\n"
        (LOCALES / language / file).write_text(text, encoding="utf-8")
        for place, english_text in missing(made, language, file).items():
            print(f"{language}/{file}: {place} is not translated: {english_text}")
    make_help.main()


if __name__ == "__main__":
    main()

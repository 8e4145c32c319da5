"""Help pages where the front end asks for them first, docs/<Node>/<language>.md: part of `./mgt locales`.

English is copied from docs/<Node>.md. The other languages are written by hand; what they lack is printed here, for a
person to mend, and fails `./mgt release-check` until then.
"""

from support.help_pages import DOCS, check, path_of, source
from support.locales import ENGLISH, languages
from support.node_runs import NODES


def copy_english() -> None:
    for name in NODES:
        if source(name).is_file():
            path = path_of(name, ENGLISH)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source(name).read_bytes())


def main() -> None:
    copy_english()
    for language in languages():
        for name in sorted(NODES) if language != ENGLISH else ():
            for fault in check(name, language) if source(name).is_file() else ():
                print(f"{path_of(name, language).relative_to(DOCS.parent.parent)}: {fault}")


if __name__ == "__main__":
    main()

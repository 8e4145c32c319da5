"""Reports as JSON whose lines tell what changed."""

import json
from collections.abc import Mapping
from pathlib import Path

from mgt_core.files import replace_file

LINE = 400  # characters up to which what belongs together stands in a line


def written(found: Mapping) -> str:
    """JSON with a line for every entry, or for several that are short together."""

    def lines(value, pad: str) -> str:
        line = json.dumps(value, ensure_ascii=False)
        if len(line) <= LINE or not isinstance(value, (Mapping, list)):
            return line
        inside = f"{pad} "
        if isinstance(value, list):
            return "[\n" + ",\n".join(inside + lines(own, inside) for own in value) + f"\n{pad}]"
        named = (f"{inside}{json.dumps(key, ensure_ascii=False)}: {lines(own, inside)}" for key, own in value.items())
        return "{\n" + ",\n".join(named) + f"\n{pad}}}"

    return lines(found, "") + "\n"


def write_report(target: Path, found: Mapping) -> None:
    replace_file(target, written(found).encode())

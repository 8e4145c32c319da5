"""{a|b} and comments in prompts, as the front end of ComfyUI resolves them when it queues.

Source: processDynamicPrompt of ComfyUI_frontend. It draws anew each time; here a number decides, so that a workflow
gives the same prompt whenever it is run.
"""

from __future__ import annotations

import random
import re

from .problems import WorkflowError

DEEPEST = 50  # alternatives in each other
MOST_SIGNS = 2_000_000  # that are looked at in all texts of a workflow, some seconds of work
MOST_READ = 64 << 20  # characters that are looked through, those within alternatives once more for each
SIGN = re.compile(r"[\\{}|]")
ESCAPED = re.compile(r"\\([{}|])")
COMMENT = re.compile(r"/[/*]")
LINE_END = re.compile(r"[\n\r\u2028\u2029]")  # where JavaScript ends a line


class Draws:
    """Resolves texts. number: another one draws other alternatives."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.signs = self.read = 0
        self.where = ""  # the text that is being resolved

    def resolved(self, text: str, key: str, where: str) -> str:
        """The text without comments, one alternative of each {a|b}, and \\{ \\| \\} as the signs themselves. The
        number and the key decide what is drawn. Raises WorkflowError, which names the text by `where`, if they are too
        many."""
        self.where = where
        return self._resolved(text, random.Random(f"{self.number}/{ascii(key)}"), 0)

    def _resolved(self, text: str, draw: random.Random, depth: int) -> str:
        if depth > DEEPEST:
            deep = f"{self.where} holds alternatives {{a|b}} more than {DEEPEST} deep in each other"
            raise WorkflowError.one("Bad text", deep)
        self._look(read=len(text))
        text = without_comments(text)
        parts, at = [], 0
        while found := SIGN.search(text, at):
            self._look(signs=1)
            parts.append(text[at : found.start()])
            at = found.end()
            if found[0] == "{":
                options, at = self._options(text, at)
                parts.append(self._resolved(options[int(draw.random() * len(options))], draw, depth + 1))
            elif found[0] == "\\":
                at += 1  # with what it escapes, which is no sign then
                parts.append(text[found.start() : at])
            else:
                parts.append(found[0])
        parts.append(text[at:])
        return ESCAPED.sub(r"\1", "".join(parts))

    def _options(self, text: str, at: int) -> tuple[list[str], int]:
        """What may be drawn of the alternatives that begin here, and where they end, if only with the text."""
        options, start, depth = [], at, 0
        while found := SIGN.search(text, at):
            self._look(signs=1)
            at = found.end()
            if found[0] == "\\":
                at += 1
            elif found[0] == "{":
                depth += 1
            elif depth:
                depth -= found[0] == "}"
            else:
                options.append(text[start : found.start()])
                start = at
                if found[0] == "}":
                    return options, at
        return [*options, text[start:]], len(text)

    def _look(self, signs: int = 0, read: int = 0) -> None:
        self.signs, self.read = self.signs + signs, self.read + read
        if self.signs > MOST_SIGNS or self.read > MOST_READ:
            much = f"{MOST_READ:,} characters, or {MOST_SIGNS:,} of {{ | }} and \\, to look at"
            raise WorkflowError.one("Bad workflow", f"up to {self.where}, its texts hold more than {much}")


def without_comments(text: str) -> str:
    """Without // to the end of a line, and /* to */; a /* that nothing closes is none."""
    parts, kept, at = [], 0, 0
    closed = True
    while found := COMMENT.search(text, at):
        begin, end = found.span()
        if found[0] == "//":
            line_end = LINE_END.search(text, end)
            at = line_end.start() if line_end else len(text)
        else:
            close = text.find("*/", end) if closed else -1
            closed = close >= 0
            if not closed:
                at = begin + 1
                continue
            at = close + 2
        parts.append(text[kept:begin])
        kept = at
    return "".join([*parts, text[kept:]])

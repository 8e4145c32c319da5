"""How a language model was trained to read pictures among its words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What such a model makes of pictures. system: the sentence before the prompt. text: the prompt, "{}" being the
    instruction that it is given. pictures: that it takes."""

    system: str
    text: str = "{}"
    pictures: int = 1

    @property
    def takes_text(self) -> bool:
        return "{}" in self.text


@dataclass(frozen=True)
class PictureForm:
    """tasks: by name. frame: of a prompt, with the system's sentence and the text. no_prompt: the text that stands for
    none. code_offset: id of code 0, of `codes`. picture, row_end, picture_end: ids around a picture and after its rows.
    """

    tasks: Mapping[str, Task]
    frame: str
    no_prompt: str
    code_offset: int
    codes: int
    picture: int
    row_end: int
    picture_end: int

    def ids(self, codes: Sequence[Sequence[int]]) -> list[int]:
        """Of a picture, given its codes row by row."""
        rows = [i for row in codes for i in (*(self.code_offset + code for code in row), self.row_end)]
        return [self.picture, *rows, self.picture_end]

    def texts(self, task: Task, instruction: str) -> tuple[str, str]:
        """The whole prompt, and that without words."""
        own = (task.text.replace("{}", instruction), self.no_prompt)
        return tuple(self.frame.format(task.system, text) for text in own)

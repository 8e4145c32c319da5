"""Live view of a run: what the callback of a Sample node reports after each step."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..mgt_core.files import written_whole
from ..mgt_core.model import MGTModel
from ..mgt_core.types import Step, TokenState
from . import host

if TYPE_CHECKING:
    from PIL.Image import Image

DECODED_TOKENS = 1024  # grids up to this size are decoded; larger ones show the mean colour of each token
SMALLEST_SIDE = 256
SECONDS_BETWEEN = 0.25
SHARE_OF_TIME = 0.2  # of the run that previews may take


def enlarged(picture: "Image", limit: int) -> "Image":
    """`picture` with whole, sharp pixels enlarged to about SMALLEST_SIDE, its longest side at most `limit`."""
    from PIL import Image

    longest = max(picture.size)
    if longest > limit:
        picture = picture.copy()
        picture.thumbnail((limit, limit), Image.Resampling.BOX)
        return picture
    factor = max(1, min(-(-SMALLEST_SIDE // longest), limit // longest))
    if factor == 1:
        return picture
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


class LivePreview:
    """Pictures of a run in progress: often enough to watch, seldom enough not to slow it down.

    previewer: draws a token state, as mgt_core.views.preview.previewer_of gives. method, limit: as
    host.preview_settings gives them. clock: seconds.
    """

    def __init__(self, previewer, method: str, limit: int, clock: Callable[[], float] = time.monotonic):
        self._previewer = previewer
        self._method = method
        self._limit = limit
        self._clock = clock
        self._next = float("-inf")

    def due(self, last: bool) -> bool:
        return last or self._clock() >= self._next

    def picture(self, state: TokenState, last: bool) -> "Image | None":
        """The first image of the batch so far, or None when it is too early for another picture."""
        if not self.due(last):
            return None
        started = self._clock()
        height, width = state.grid
        full = self._method == "taesd" or height * width <= DECODED_TOKENS
        picture = enlarged(self._previewer.image(state, full), self._limit).convert("RGB")
        ended = self._clock()
        self._next = max(started + SECONDS_BETWEEN, ended + (ended - started) * (1 / SHARE_OF_TIME - 1))
        return picture


class RunView:
    """Callback for `mgt_core.sample`: cancel, preview, progress, in this order.

    calls: network evaluations so far; passes: the same with a guided one counted as two. note: what the sampler has to
    say of the run, if anything.
    """

    def __init__(self, steps: int, node_id: str | None, model: MGTModel):
        self.calls = self.passes = 0
        self.note = ""
        self._progress = host.Progress(steps, node_id)
        self._preview = None
        method, limit = host.preview_settings()
        if model.codec is not None and method != "none" and limit > 0:
            from ..mgt_core.views.preview import previewer_of

            self._preview = LivePreview(previewer_of(host.beside(model.codec, model)), method, limit)

    def __call__(self, step: Step) -> None:
        host.raise_if_interrupted()
        self.calls, self.passes, self.note = step.calls, step.passes, step.note
        done = step.index + 1
        self._progress.update(done, step.total, self.picture(step, last=done == step.total))

    def picture(self, step: Step, last: bool = False) -> "Image | None":
        # The result comes from the GPU, which is not worth waiting for when nobody sees it.
        return self._preview.picture(step.result, last) if self._preview and self._preview.due(last) else None


class CalibrationView(RunView):
    """The same for a calibration, whose bar counts more than the steps it samples."""

    def __init__(self, node_id: str | None, model: MGTModel):
        super().__init__(1, node_id, model)
        self._seen: tuple[int, int] = (0, 1)

    def progress(self, done: int, total: int) -> None:
        """For `quantize`."""
        host.raise_if_interrupted()
        self._seen = done, total
        self._progress.update(done, total)

    def __call__(self, step: Step) -> None:
        if (picture := self.picture(step)) is not None:
            self._progress.update(*self._seen, picture)


def animation(frames: "Iterable[Image]", frames_per_second: float) -> dict:
    """What a node returns under "ui" to play the frames in the browser; empty outside ComfyUI, which shows nothing.

    Raises OSError where the temporary folder is full."""
    if not (target := host.temporary("mgt", ".webp")):
        return {}
    (file, subfolder), (first, *others) = target, frames
    duration = round(1000 / frames_per_second)
    with written_whole(file) as place:
        first.save(place, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, lossless=True)
    return {"images": [{"filename": file.name, "subfolder": subfolder, "type": "temp"}], "animated": (True,)}

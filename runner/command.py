"""The command line over the runner: a workflow run here or on a ComfyUI server."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from .convert import to_api
from .files import Document, read_document
from .images import Folders
from .local import Library, check_folders, execute
from .pack import ROOT
from .problems import Json, RunError, WorkflowError, title_of
from .progress import Bar
from .server import Client
from .settings import apply_settings
from .terminal import complain, log_to_terminal, say
from .titles import found
from .validate import Custom, validate

FILE_HELP = (
    "workflow JSON (UI or API format), a PNG image or FLAC sound that holds one, or the name of one in workflows/"
)
SHIPPED = ROOT / "workflows"
MOST_PROBLEMS = 20  # that are told one by one


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    log_to_terminal(logging.INFO if options.verbose else logging.WARNING)
    try:
        options.file = found(options.file, SHIPPED)
        document = read_document(options.file)
        run = run_here if options.server is None else run_on_server
        with closing(Bar(enabled=not options.quiet)) as bar:
            for path in run(document, options, bar):
                say(f"Saved {path}")
        return 0
    except WorkflowError as error:
        more = len(error.problems) - MOST_PROBLEMS
        told = [*error.problems[:MOST_PROBLEMS], *([f"And {more} more problems."] if more > 0 else [])]
        complain(f"{options.file} cannot run:", *told)
        return 1
    except KeyboardInterrupt:
        complain("Cancelled.")
        return 130
    except Exception as error:
        told = isinstance(error, RunError)
        complain(error if told else f"The run failed: {type(error).__name__}: {error} (--verbose tells where).")
        logging.getLogger(__name__).info("Traceback:", exc_info=error)
        return 1


def prepare(
    document: Document,
    settings: list[str],
    object_info: Json,
    *,
    draw: int = 0,
    values: bool = True,
    custom: Custom | None = None,
) -> tuple[Json, Json | None]:
    """Prompt in API format and the workflow in UI format, if that is what was shared, with the settings made.
    values: whether all is judged here, as nothing is on a server's behalf. draw: the number that decides on {a|b}.

    Raises WorkflowError with everything that is wrong; nothing has run by then.
    """
    graph = apply_settings(document.graph, settings, object_info)
    prompt = to_api(graph, object_info, draw, server=not values)
    problems = validate(prompt, object_info, values=values, custom=custom)
    if problems:
        raise WorkflowError(problems)
    return prompt, graph if document.ui is not None else None


def run_here(document: Document, options: argparse.Namespace, bar: Bar) -> list[Path]:
    places = [options.input, Path("input"), options.file.parent, Path(), SHIPPED]
    folders = Folders(tuple(dict.fromkeys(p.resolve() for p in places if p is not None)), options.output)
    library = Library.of_pack(folders)
    prompt, workflow = prepare(
        document, options.set, library.object_info, draw=options.draw, custom=library.custom_check
    )
    check_folders(folders)

    def report(done: int, total: int, node_id: str | None) -> None:
        bar.show(done, total, node_id, title_of(prompt, node_id or ""))

    return execute(prompt, library, workflow, report)


def run_on_server(document: Document, options: argparse.Namespace, bar: Bar) -> Iterable[Path]:
    client = Client(options.server)
    prompt, workflow = prepare(document, options.set, client.object_info(), draw=options.draw, values=False)
    check_folders(Folders((), options.output))
    return client.run(prompt, workflow, options.output, bar)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a ComfyUI workflow here or on a ComfyUI server.")
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help=FILE_HELP)
    add(
        "--set",
        metavar="NODE.INPUT=VALUE",
        action="append",
        default=[],
        help="change a widget; NODE is an id, a title, or a node type that occurs once (may be repeated)",
    )
    add(
        "--draw",
        metavar="N",
        type=int,
        default=0,
        help="another number draws other alternatives of {a|b} in prompts, the same the same (default: 0)",
    )
    add("--server", metavar="URL", help="run on this ComfyUI server, for instance http://127.0.0.1:8188")
    add("--output", metavar="DIR", type=Path, default=Path("output"), help="where files go (default: ./output)")
    add(
        "--input",
        metavar="DIR",
        type=Path,
        help="where Load Image and Load Audio look first; then ./input and beside FILE",
    )
    add("--quiet", action="store_true", help="no progress bar")
    add("--verbose", action="store_true", help="log more, and tracebacks")
    return parser

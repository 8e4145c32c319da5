"""Files that hold no workflow, and the words in which they are refused."""

import json
import os
from pathlib import Path

import pytest

from runner.files import read_document

FILE_ERRORS = {
    "empty": (b" \n", "Cannot read the workflow: {file} is empty."),
    "nothing": (b"", "Cannot read the workflow: {file} is empty."),
    "web page": (
        b"\n\n<!DOCTYPE html>\n<html>",
        "Cannot read the workflow: {file} is a web page in the workflow's place: download the workflow itself.",
    ),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
        "Cannot read the workflow: {file} is a pointer of Git LFS in the workflow's place: fetch it with git lfs pull.",
    ),
    "not JSON": (
        b'{"nodes": [',
        "Cannot read the workflow: {file} is not JSON (Expecting value: line 1 column 12 (char 11)).",
    ),
    "not text": (
        b"\xff\xfe\x00",
        "Cannot read the workflow: {file} is neither JSON text, a PNG image nor a FLAC sound.",
    ),
    "damaged image": (b"\x89PNG\r\n\x1a\nhello", "Cannot read the workflow: {file} is a damaged PNG image"),
    "other JSON": (
        [1, 2],
        "Cannot read the workflow: {file} is neither a saved workflow (with 'nodes' and 'links') "
        "nor a prompt in API format ({{id: {{class_type, inputs}}}}).",
    ),
    "missing": (Path("nowhere.json"), "Cannot read the workflow: nowhere.json is not in . or "),
    "folder": (Path("/"), "Cannot read the workflow: / is a folder."),
}


@pytest.mark.parametrize("content, sentence", FILE_ERRORS.values(), ids=FILE_ERRORS)
def test_unreadable_files(content, sentence, command, tmp_path):
    code, out, err = command(content)
    lines = err.splitlines()
    assert (code, out) == (1, "")
    assert lines[1].startswith(sentence.format(file=tmp_path / "workflow.json"))
    assert len(lines) == 2


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no shell hands over pipes by a name here")
def test_a_pipe_that_the_shell_hands_over_is_read():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write(json.dumps({"nodes": [], "links": []}))
    try:
        assert read_document(Path(f"/dev/fd/{reading}")).ui == {"nodes": [], "links": []}
    finally:
        os.close(reading)

"""run_workflow.py --server before servers that are none, or mean ill: one sentence, and nothing but whole files in the
output folder."""

import time
from itertools import chain, repeat

import pytest

from runner import transport
from runner.server import Client, ServerError
from support.hostile_server import PICTURE, as_comfyui, http, sending, slowly

ESCAPE = "\x1b[31m"
NEVER = "http://127.0.0.2:9"

pytestmark = pytest.mark.usefixtures("hurried")


def test_good_answers_are_taken(before):
    assert before() == (0, ["p.png"], "")


@pytest.mark.parametrize(
    "address, said",
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("http://", "names no host"),
        ("http://[::1", "Invalid IPv6"),
        ("http://127.0.0.1:x", "Port"),
        ("http://127.0.0.1:99999", "Port out of range"),
        ("http://a b", "blanks"),
        ("http://a\nb", "blanks"),
        (f"http://a{ESCAPE}", "blanks"),
        ("http://user:word@127.0.0.1", "a password"),
        ("http://127.0.0.1/?a=b", "have no place"),
        ("http://a..b", "label"),
        ("http://" + "é" * 99, "label"),
        ("file:///etc/passwd", "http or https"),
    ],
)
def test_an_address_that_is_none(address, said, ask):
    code, out, err = ask(address)
    assert (code, out) == (1, "") and err.startswith("--server ") and said in err
    assert err[:-1].isprintable()


def test_addresses_are_taken_as_they_are_typed():
    typed = {"LOCALHOST:8188/": "http://localhost:8188", "HTTPS://[::1]:2/aéb": "https://[::1]:2/a%C3%A9b"}
    assert {text: Client(text).url for text in typed} == typed
    assert Client("http://bücher.example").url == "http://xn--bcher-kva.example"


@pytest.mark.parametrize("place", [f"{NEVER}/object_info", "https://127.0.0.1/", "//a.invalid/", "http://[", ""])
def test_no_redirect_leads_elsewhere(place, before):
    code, _, said = before(object_info=http(status="302 Found", Location=place))
    assert code == 1 and said.startswith("URL/object_info redirects to ") and "not followed" in said


def test_redirects_within_the_server_are_followed_a_few_times(before):
    assert (
        before(object_info=http(status="307 A", Location="/other"), other=as_comfyui()("/object_info", b"")[0])[0] == 0
    )
    said = "URL/object_info redirects again and again."
    assert before(object_info=http(status="302 A", Location="/object_info"))[2] == said


def test_the_websocket_is_redirected_nowhere(before, monkeypatch):
    asked = []
    with sending(lambda path, head: [asked.append(path)] and []) as other:
        assert before(ws=http(status="302 Found", Location=f"ws{other[4:]}/ws"))[0] == 0
    assert not asked


@pytest.mark.parametrize(
    "answer, said",
    [
        (b"", "No ComfyUI server answers at URL (Remote end closed connection without response)."),
        (b"SSH-2.0\r\n", "URL/object_info does not answer as ComfyUI does (SSH-2.0"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "got more than 100 headers"),
        (http(b"{", Content_Length=9), "broke off after 1 bytes (8 are missing)."),
        (http(b"9\r\n{}", Content_Length=None, Transfer_Encoding="chunked"), "broke off after"),
        (http(b"{}", Content_Length=10**9), "holds more than 64 MB, the most that is taken."),
        (http(b"{}", status=f"500 {ESCAPE}"), r"URL/object_info answers 500 \x1b[31m."),
        (http(b"", status="204 Empty"), "URL/object_info answers 204 Empty."),
        (http(b"{}", status="206 Partial"), "URL/object_info answers 206 Partial."),
        (http(b"<html>"), "URL/object_info does not answer as ComfyUI does (Expecting value: line 1"),
        (http(b"\x1f\x8b\x08", Content_Encoding="gzip"), "URL/object_info does not answer as ComfyUI does"),
        (http(b"[" * 100_000), "more than 200 deep in each other"),
        (http(b"[" * 300 + b"]" * 300), "more than 200 deep in each other"),
        (http(b"9" * 5000), "a number of 5000 digits"),
        (http(b"[" + b"[]," * 1_000_001 + b"[]]"), "more than 2,000,000 values"),
        (http(b"[]"), "it is no object"),
    ],
)
def test_an_answer_that_is_none(answer, said, before):
    code, saved, err = before(object_info=answer)
    assert (code, saved) == (1, []) and said in err


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: chain([http(Content_Length=9999)], slowly(b" " * 9999)),
        lambda: slowly(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 99),
        lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda: chain([http(Content_Length=None)], repeat(b" " * 65536)),
        lambda: chain([http(b"-1\r\n", Content_Length=None, Transfer_Encoding="chunked")], repeat(b" " * 65536)),
    ],
)
def test_an_answer_without_an_end(pieces, before, monkeypatch):
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 10**6)
    monkeypatch.setattr(transport, "SECONDS", 0.2)
    started = time.monotonic()
    code, _, said = before(object_info=lambda head: pieces())
    assert code == 1 and "URL" in said and time.monotonic() - started < 5


@pytest.mark.parametrize(
    "content, said",
    [
        (http(b"pict", Content_Length=9), "broke off after 4 bytes (5 are missing)."),
        (http(b"3\r\npic\r\n", Content_Length=None, Transfer_Encoding="chunked"), "broke off"),
        (http(b"picture", Content_Length=None), "does not say how long the file is"),
        (http(b"picture", Content_Length=2**40), "holds more than 2048 MB"),
        (http(b"", status="404 Not Found"), "answers 404 Not Found."),
    ],
)
def test_a_file_comes_whole_or_not_at_all(content, said, before):
    code, saved, err = before(view=content)
    assert (code, saved) == (1, []) and said in err


def test_what_came_before_a_bad_file_is_saved_and_told(ask, tmp_path):
    files = [PICTURE, {**PICTURE, "type": "../../escaped"}, {**PICTURE, "filename": "q.png"}]
    entry = {"outputs": {"3": {"images": files}}}
    with sending(as_comfyui(history=http({"id": entry}))) as url:
        code, out, err = ask(url)
    assert (code, out) == (1, "".join(f"Saved {tmp_path / 'out' / name}\n" for name in ("p.png", "q.png")))
    assert err == "The server has a file of type '../../escaped'; taken are output, temp, input.\n"


def test_a_full_disk(before, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runner.writing.os.fsync", full)
    code, saved, said = before()
    assert (code, saved) == (1, []) and said.endswith("p.png cannot be written (No space left on device).")


def test_an_output_folder_that_cannot_be_is_told_before_the_run(ask, tmp_path):
    (tmp_path / "out").write_text("a file")
    asked = []
    with sending(as_comfyui(prompt=lambda head: asked.append(head) or [])) as url:
        code, _, err = ask(url)
    assert code == 1 and "Cannot save: output folder" in err and not asked


@pytest.mark.parametrize(
    "odd",
    [
        {"prompt": http(5)},
        {"prompt": http({})},
        {"prompt": http({"prompt_id": ["id"]})},
        {"prompt": http({"prompt_id": "a\n"}, status="400 Bad")},
        {"queue": http([]), "history": http({})},
        {"history": http([])},
        {"history": http({"id": "done"})},
        {"history": http({"id": {"outputs": [1]}})},
        {"history": http({"id": {"status": "success"}})},
    ],
)
def test_an_odd_shape_is_said(odd, before):
    code, saved, said = before(**odd)
    assert (code, saved) == (1, []) and "does not answer as ComfyUI does (" in said


def test_odd_items_of_the_queue_are_passed_over(before):
    looks = iter([http({}), as_comfyui()("/history", b"")[0]])
    queue = http({"queue_running": [5, None, [], [0, ["id"]], "id", {"id": 1}], "queue_pending": 7})
    assert before(queue=queue, history=lambda head: [next(looks)]) == (0, ["p.png"], "")


@pytest.mark.parametrize(
    "outputs", [{}, None, {"3": None}, {"3": {"images": 5}}, {"3": {"images": [5, {}, {"filename": None}, ["p.png"]]}}]
)
def test_outputs_that_name_no_file(outputs, before):
    assert before(history=http({"id": {"outputs": outputs}})) == (0, [], "")


@pytest.mark.parametrize("error", [5, ["a"], {"message": ["a"]}, {"message": 5, "details": {}}, f"no{ESCAPE}\nway"])
def test_a_refusal_of_any_shape(error, ask):
    with sending(as_comfyui(prompt=http({"error": error, "node_errors": [1]}, status="400 Bad"))) as url:
        code, _, err = ask(url)
    first, second = err.splitlines()
    assert code == 1 and first.endswith("cannot run:") and second and second.isprintable()


def test_many_problems_are_counted(ask):
    errors = {str(number): {"errors": [{"message": "Bad"}]} for number in range(1000)}
    with sending(as_comfyui(prompt=http({"node_errors": errors}, status="400 Bad"))) as url:
        err = ask(url)[2].splitlines()
    assert len(err) == 22 and err[-1] == "And 980 more problems."


@pytest.mark.parametrize("messages", [[5], [[]], [["execution_error"]], [["execution_error", None]], "failed", None])
def test_a_failure_of_any_shape(messages, before):
    entry = {"status": {"status_str": "error", "messages": messages}}
    code, _, said = before(history=http({"id": entry}))
    assert code == 1 and said in ("The run failed on the server, which does not say why.", "it failed.")


def test_too_many_files_are_not_begun(before):
    files = [{"filename": f"{number}.png"} for number in range(10_001)]
    code, saved, said = before(history=http({"id": {"outputs": {"3": {"images": files}}}}))
    assert (code, saved) == (1, []) and "names more than 10000 files" in said


def test_a_proxy_that_is_none(monkeypatch):
    monkeypatch.setenv("http_proxy", "ftp://127.0.0.1:9")
    with pytest.raises(ServerError, match="No ComfyUI server answers at http://a.invalid"):
        Client("a.invalid").object_info()

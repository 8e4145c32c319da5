"""A ComfyUI server of few words, on the loopback: what the runner's client needs, and scripted answers."""

import base64
import hashlib
import json
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PROMPT_ID = "prompt-1"


@dataclass
class FakeServer:
    """What it answers, and what it was asked. `checks`: looks into the history before the run is over."""

    object_info: dict
    answer: tuple = (200, {"prompt_id": PROMPT_ID, "node_errors": {}})
    entry: dict = field(default_factory=lambda: {"outputs": {}, "status": {"status_str": "success", "messages": []}})
    files: dict = field(default_factory=dict)
    websocket: bool = True
    messages: list = field(default_factory=list)
    checks: int = 1
    forgets: bool = False
    posted: list = field(default_factory=list)
    viewed: list = field(default_factory=list)
    url: str = ""

    def get(self, path, query):
        if path == "/object_info":
            return 200, self.object_info
        if path == "/queue":
            waiting = [] if self.forgets else [[0, PROMPT_ID, {}, {}, []]]
            return 200, {"queue_running": waiting, "queue_pending": []}
        if path == f"/history/{PROMPT_ID}":
            self.checks -= 1
            return 200, {PROMPT_ID: self.entry} if self.checks < 0 and not self.forgets else {}
        if path == "/view":
            self.viewed.append(query)
            return 200, self.files[query["filename"]]
        return 404, {}

    def post(self, path, body):
        self.posted.append((path, body))
        return self.answer if path == "/prompt" else (200, {})


@contextmanager
def serving(fake):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, code, content):
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
            if parts.path == "/ws" and fake.websocket:
                self.speak()
            else:
                self.reply(*fake.get(parts.path, query))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(*fake.post(self.path, body))

        def speak(self):
            key = self.headers["Sec-WebSocket-Key"] + GUID
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            for message in fake.messages:
                binary = isinstance(message, bytes)
                data = message if binary else json.dumps(message).encode()
                self.wfile.write(struct.pack("!BBH", 0x82 if binary else 0x81, 126, len(data)) + data)
            self.wfile.flush()
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""HTTP servers in a thread of the test: what the tests' own servers have in common."""

import hashlib
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def draw(*words):
    """A number in [0, 1) that depends on the words only."""
    text = "/".join(map(str, words))
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


class Handler(BaseHTTPRequestHandler):
    """Answers in JSON, and ways of failing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Nothing on the screen."""

    def body(self):
        """The bytes that came with a request."""
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def head(self, status, length, **headers):
        self.send_response(status)
        fixed = {"content-type": "application/json", "content-length": length}
        for name, value in {**fixed, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, status, body, **headers):
        """Send bytes, or what is to be JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, len(raw), **headers)
        self.wfile.write(raw)

    def refuse(self, status, message, **headers):
        self.send(status, {"error": {"message": message}}, **headers)

    def drip(self, raw, pause):
        """Byte by byte, so that a wait for the next one is never long, while the client waits."""
        self.head(200, len(raw))
        for place in range(len(raw)):
            if not self.connected():
                break
            self.wfile.write(raw[place:place + 1])
            time.sleep(pause)
        self.close_connection = True

    def cut(self):
        """End the connection as a server does that dies."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def connected(self):
        """Is the client still there? What it does not wait for any more does not arrive."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.connection.setblocking(True)


class Server(ThreadingHTTPServer):
    """A server on loopback; `.url`, `.lock`, and what its handler keeps in it."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(self, handler, **kept):
        super().__init__(("127.0.0.1", 0), handler)
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        vars(self).update(kept)

    def handle_error(self, *_):
        """A client that hangs up is no error."""


@contextmanager
def running(server):
    """The server, answering until the end of the block."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()

"""Knows something about customers, and says "not now" when it is asked too fast."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# So many answers in each window of so many seconds.
ANSWERS, WINDOW = 40, 0.2
lock, window = threading.Lock(), [0.0, 0]


def too_fast():
    with lock:
        now = time.monotonic()
        if now - window[0] > WINDOW:
            window[:] = [now, 0]
        window[1] += 1
        return window[1] > ANSWERS


class Enrich(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, value, **headers):
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.say(200 if self.path == "/healthz" else 404, {})

    def do_POST(self):
        customer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if too_fast():
            self.say(429, "not so fast", Retry_After="0" if customer % 2 else "1")
        elif customer % 100 == 13:
            self.say(404, f"customer {customer} is unknown")
        else:
            self.say(200, {"found": 1, "orders": customer % 7})


ThreadingHTTPServer(("127.0.0.1", int(os.environ["BRAID_PORT"])), Enrich).serve_forever()

"""A small http server for tests: byte ranges, ETags, and the faults of real ones."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves ``files`` (name -> bytes) on 127.0.0.1; a context manager.

    ``cuts`` holds, per name, how many bytes to send before the connection breaks, one entry per request; ``requests``
    is what was asked, as (name, range or None).
    """

    def __init__(self, files, ranges=True):
        self.files, self.ranges = dict(files), ranges
        self.cuts, self.codes, self.requests = {}, {}, []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler):
        name, asked = handler.path.lstrip("/"), handler.headers.get("Range")
        self.requests.append((name, asked))
        if self.codes.get(name):
            handler.send_error(self.codes[name].pop(0))
            return
        if name not in self.files:
            handler.send_error(404)
            return
        data = self.files[name]
        tag = f'"{hash(data)}"'
        first, last, code = 0, len(data) - 1, 200
        if asked and self.ranges and handler.headers.get("If-Range") in (None, tag):
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last, code = int(start), min(int(end or last), last), 206
        body = data[first : last + 1]
        handler.send_response(code)
        handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(body)))
        if code == 206:
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        handler.end_headers()
        cut = self.cuts.get(name)
        handler.wfile.write(body[: cut.pop(0)] if cut else body)

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

"""A headless browser led over its DevTools pipe: a page at a size and with a reader's wishes, in real time."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of one browser; ``with Browser(folder) as browser``.

    Args:
        folder: for its profile.
    """

    def __init__(self, folder):
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", f"--user-data-dir={folder}", "--remote-debugging-pipe"]  # fmt: skip
        # the browser reads commands at descriptor 3 and answers at 4: ours are kept off those numbers
        theirs, self.out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in os.pipe())
        self.into, answers = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in os.pipe())

        def place():
            os.dup2(theirs, 3)
            os.dup2(answers, 4)

        self.process = subprocess.Popen(
            command, pass_fds=(3, 4), preexec_fn=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(answers)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self.out)
        os.close(self.into)

    def call(self, method, seconds=60.0, **parameters):
        """Result of one command; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data) :]
        end = time.monotonic() + seconds
        while True:
            answer = self._message(end)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _message(self, end):
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            assert left > 0, "the browser does not answer"
            if select.select([self.into], [], [], left)[0]:
                read = os.read(self.into, 2**20)
                assert read, "the browser is gone"
                self.buffer += read
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def open(self, url, width=1280, dark=False, still=False):
        """Go to a page as someone with that window, colours and dislike of motion."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}]  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=url)

    def value(self, expression):
        """Of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def wait_for(self, expression, seconds=60.0):
        """The first value of an expression that is not null."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (found := self.value(expression)) is not None:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{expression} stayed null for {seconds:g} s")

    def complaints(self):
        """Errors and warnings of the console, exceptions, and requests for anything but the page and its data."""
        self.value("0")  # what was said before this answer has arrived with it
        found = []
        for event in self.events:
            method, said = event.get("method"), event.get("params", {})
            if (
                method == "Runtime.exceptionThrown"
                or (method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"))
                or (method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"))
            ):
                found.append(said)
            if method == "Network.requestWillBeSent":
                url = said["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    found.append(url)
        return found

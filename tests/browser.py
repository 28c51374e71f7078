"""A Chromium that tests open pages in, click and look at, over its DevTools protocol."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from helpers.runs.report_pdf import installed_browser

PROGRAM = installed_browser()
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--hide-scrollbars", "--force-prefers-reduced-motion", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip


class Browser:
    """One tab. It draws by software, and nothing in it moves by itself.

    Parameters
    ----------
    profile : Path
        An empty folder for what the browser keeps.
    """

    def __init__(self, profile: Path) -> None:
        import websocket

        command = [str(PROGRAM), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if port := re.search(r"DevTools listening on ws://[^/]+:(\d+)/", line):
                break
        else:
            raise RuntimeError(f"the browser did not start: {said[-2000:]}")
        # What it says later would fill the pipe, and stop it.
        self._drain = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/json", timeout=60))
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self._socket = websocket.create_connection(address, timeout=300)
        self._numbers = itertools.count(1)
        self._loaded = False
        self._ask("Page.enable")

    def close(self) -> None:
        self._socket.close()
        for process in (self._process, self._drain):
            process.terminate()
            process.wait(60)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := self._next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv())
        self._loaded |= message.get("method") == "Page.loadEventFired"
        return message

    def open(self, page: Path, *, width: int = 1200, height: int = 800) -> None:
        """Open a page in a window of a size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._loaded = False
        self._ask("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._next()

    def run(self, script: str) -> Any:
        """Run statements in the page, and return what they return."""
        asked = {"expression": f"(() => {{ {script} }})()", "returnByValue": True, "awaitPromise": True}
        answer = self._ask("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, *, seconds: float = 120) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"not in {seconds} s: {condition}"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        return self.run(f"return document.querySelector({selector!r}).textContent")

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a point of the window, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def print_media(self) -> None:
        """Show the page as it is printed."""
        self._ask("Emulation.setEmulatedMedia", media="print")

    def picture(self) -> np.ndarray:
        """Return what the window shows, (height, width, RGB)."""
        from PIL import Image

        answer = self._ask("Page.captureScreenshot", format="png")
        return np.array(Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB"))

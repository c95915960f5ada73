"""Chromium without a window, spoken to in the DevTools protocol over two pipes: no package, no port, no network."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_EVENTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.requestWillBeSent")


class Tab:
    """A page of the browser. `events` has what it logged, threw and asked for, in order."""

    def __init__(self, reads: int, writes: int) -> None:
        self._in, self._out, self._rest = reads, writes, b""
        self._count, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command; events that come before it are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (told := self._receive()).get("id") != self._count:
            self._note(told)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']['message']}")
        return dict(told["result"])

    def show(self, file: Path, width: int, height: int, scheme: str) -> None:
        """Load a file in a window of this size, in the colours that the system of the reader asks for."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url=file.as_uri())
        while (told := self._receive()).get("method") != "Page.loadEventFired":
            self._note(told)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    def picture(self, height: int | None = None, top: int = 0) -> bytes:
        """What is seen, or so much of the page from `top`, as PNG."""
        width = self.run("innerWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height or self.run("innerHeight"), "scale": 1}
        told = self.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(told["data"])

    def _note(self, told: dict[str, Any]) -> None:
        if told.get("method") in _EVENTS:
            self.events.append(told)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 20)
            if not part:
                raise EOFError("the browser has gone")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A browser with an empty profile; it ends with the block."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()

    def join() -> None:
        # The protocol is on 3 and 4; first both are moved out of the way of either.
        first, second = os.dup(their_in), os.dup(their_out)
        os.dup2(first, 3)
        os.dup2(second, 4)

    assert BROWSER is not None
    process = subprocess.Popen(
        [BROWSER, *_FLAGS, f"--user-data-dir={profile}"], preexec_fn=join, close_fds=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(their_in)
    os.close(their_out)
    try:
        yield Tab(our_in, our_out)
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(our_in)
        os.close(our_out)

"""A headless Chromium, driven through its DevTools protocol: as little of it as the tests need."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

APT = "sudo apt-get install $(grep -v '#' tests/debian-packages.txt)"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --mute-audio "
    "--force-color-profile=srgb --hide-scrollbars --disable-dev-shm-usage --remote-debugging-port=0"
)
PATIENCE = 60.0  # seconds for the browser, and for what is waited for on a page


def found() -> str | None:
    """The browser's command, or None."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """`async with Browser(folder) as browser:` one tab, in a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.errors: list[str] = []  # of scripts and of the content security policy

    async def __aenter__(self) -> Browser:
        command = found()
        assert command is not None
        profile = f"--user-data-dir={self._folder}"
        self._process = subprocess.Popen(
            [command, *FLAGS.split(), profile, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._session = aiohttp.ClientSession()
        port = await self._port()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in await answer.json() if page["type"] == "page"]
        self._socket = await self._session.ws_connect(
            pages[0]["webSocketDebuggerUrl"], max_msg_size=0
        )
        self._listening = asyncio.create_task(self._listen())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.cancel()
        await self._socket.close()
        await self._session.close()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        self._number += 1
        future = asyncio.get_running_loop().create_future()
        self._answers[self._number] = future
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(future, PATIENCE)
        assert "error" not in answer, answer["error"]
        return dict(answer["result"])

    async def open(self, url: str) -> None:
        """Go to an address."""
        await self.call("Page.navigate", url=url)

    async def look(
        self, width: int, height: int, scheme: str = "light", touch: bool = False
    ) -> None:
        """The size of the window in CSS pixels, and what colours the system prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives; promises are awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(AssertionError):  # the page is just being loaded
                if value := await self.value(expression):
                    return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true on the page: {expression}")

    async def key(self, key: str) -> None:
        """Press a key of one character."""
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def picture(self, form: str = "png", whole: bool = False) -> bytes:
        """A screenshot; `whole` beyond the window's lower edge, too."""
        quality = {"quality": 82} if form == "jpeg" else {}
        answer = await self.call(
            "Page.captureScreenshot", format=form, captureBeyondViewport=whole, **quality
        )
        return base64.b64decode(answer["data"])

    async def _port(self) -> int:
        file = self._folder / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(OSError, IndexError):
                return int(file.read_text().splitlines()[0])
            await asyncio.sleep(0.1)
        raise AssertionError("Chromium did not start")

    async def _listen(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            if "id" in data:
                self._answers.pop(data["id"]).set_result(data)
            elif data["method"] == "Runtime.exceptionThrown":
                self.errors.append(str(data["params"]["exceptionDetails"]))
            elif data["method"] == "Log.entryAdded" and data["params"]["entry"]["level"] == "error":
                self.errors.append(data["params"]["entry"]["text"])

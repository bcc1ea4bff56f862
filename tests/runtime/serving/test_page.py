"""The page in a real browser: the picture moves, controls act, lost connections come back."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.agreement import Agreement


def _chromium() -> Any:
    spec = importlib.util.spec_from_file_location(
        "tests_chromium", Path(__file__).with_name("chromium.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


chromium = _chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.found() is None, reason=f"no Chromium here: {chromium.APT}"),
]
PATIENCE = 60.0  # seconds
FRAME = "Number(document.querySelector('.screen')?.dataset.frame ?? -1)"
CONDITION = "document.querySelector('.screen')?.dataset.condition"


def browse(folder: Path, visit: Callable[[Any], Awaitable[None]]) -> list[str]:
    """Run a visit in a browser; errors of the page's scripts and of its security policy."""

    async def run() -> list[str]:
        async with chromium.Browser(folder) as browser:
            await visit(browser)
            return list(browser.errors)

    return asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    """Wait for something on the server's side."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.02)


def test_the_picture_moves_and_controls_act(served: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(served)

    async def visit(browser: Any) -> None:
        await browser.open(server.address.url)
        before = await browser.until(f"{FRAME} > 0 && {FRAME}")
        await browser.until(f"{FRAME} > {before + 5}")
        assert await browser.value(CONDITION) == "live"
        legend = "[...document.querySelectorAll('#legend span')].map(e => e.textContent)"
        assert await browser.value(legend) == ["dark", "middle", "bright"]
        assert await browser.value("document.getElementById('fps').textContent") != ""

        # The slider, as a hand moves it.
        await browser.value(
            "{const s = document.getElementById('alpha'); s.value = 80;"
            "s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change'))}"
        )
        await until(lambda: served.channel.switches.now.alpha == 0.8)
        await browser.value("document.querySelector('#crf input[value=exact]').click()")
        await until(lambda: served.channel.switches.now.crf == "exact")
        await browser.key("c")
        await until(lambda: served.channel.switches.now.crf != "exact")

        await browser.key(" ")
        await browser.until(f"{CONDITION} === 'paused'")
        assert served.stream.lanes[0].paused
        await browser.value("document.getElementById('pause').click()")
        await browser.until(f"{CONDITION} === 'live'")

        await browser.value("document.getElementById('record').click()")
        await browser.until("document.getElementById('record').textContent.includes('Stop')")
        await browser.until("document.getElementById('record').textContent.includes('0:01')")
        await browser.key("r")
        await browser.until("document.getElementById('record').textContent.includes('Record')")
        assert len(list((tmp_path / "recordings").glob("*.mp4"))) == 1

        size = await browser.value(
            "(async () => { const link = document.querySelector('#snapshots a');"
            "const image = await createImageBitmap(await (await fetch(link.href)).blob());"
            "return [image.width, image.height] })()"
        )
        assert size == [64, 48]

    assert browse(tmp_path / "profile", visit) == []


def test_the_agreement_of_two_engines_is_told_once_there_is_one(
    served: Any, serve: Any, tmp_path: Path
) -> None:
    agreement = served.channel.agreement = Agreement(("dark", "middle", "bright"), ("A", "B"))
    server = serve(served)

    async def visit(browser: Any) -> None:
        facts = "document.getElementById('facts').textContent"
        await browser.open(server.address.url)
        await browser.until(f"{facts}.includes('A and B: no frame yet')")
        dark = np.zeros((2, 2), np.uint8)
        agreement.add(dark, np.array([[0, 0], [0, 1]], np.uint8), 0, 0.0)
        told = "A and B: 75.00 % now, 75.00 % in all, most differ in dark"
        await browser.until(f"{facts}.includes('{told}')")

    assert browse(tmp_path, visit) == []


def test_a_stalled_camera_is_called_stale(served: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(served)

    async def visit(browser: Any) -> None:
        await browser.open(server.address.url)
        await browser.until(f"{FRAME} > 0")
        served.camera.delivering.clear()
        await browser.until(f"{CONDITION} === 'stale'")
        banner = "document.querySelector('.banner').textContent"
        await browser.until(f"{banner}.startsWith('STALE 2 s')")
        served.camera.delivering.set()
        await browser.until(f"{CONDITION} === 'live' && {banner} === ''")

    assert browse(tmp_path / "profile", visit) == []


def test_a_dropped_connection_comes_back_and_says_so(served: Any, tmp_path: Path) -> None:
    from runtime.serving.access import Access
    from runtime.serving.address import Address
    from runtime.serving.server import Server

    with Server([served.channel], Access(Address("127.0.0.1", 0))) as server:
        address = server.address

    async def visit(browser: Any) -> None:
        with Server([served.channel], Access(address)):
            await browser.open(address.url)
            await browser.until(f"{FRAME} > 0")
        status = "document.getElementById('connection').textContent"
        await browser.until(f"{status}.includes('trying again')")
        assert await browser.value(CONDITION) == "lost"
        before = await browser.value(FRAME)
        with Server([served.channel], Access(address)):
            await browser.until(f"{status} === 'connected' && {CONDITION} === 'live'")
            await browser.until(f"{FRAME} > {before + 5}")

    browse(tmp_path / "profile", visit)  # the browser logs refused connections as errors


def test_a_wall_shows_all_and_a_hidden_page_asks_for_none(
    served: Any, serve: Any, make_served: Any, tmp_path: Path
) -> None:
    with make_served("second") as second:
        server = serve(served, second)

        async def visit(browser: Any) -> None:
            await browser.open(server.address.url)
            moving = "[...document.querySelectorAll('#wall .screen')].map(s => s.dataset.frame > 3)"
            await browser.until(f"JSON.stringify({moving}) === '[true,true]'")
            assert (served.channel.viewers, second.channel.viewers) == (1, 1)
            await browser.key("2")
            await until(lambda: served.channel.viewers == 0)
            assert second.channel.viewers == 1
            assert await browser.value("document.querySelector('#stage .name').textContent")
            await browser.key("w")
            await browser.until("!document.getElementById('wall').hidden")

        assert browse(tmp_path / "profile", visit) == []


def test_logging_in_with_the_form(served: Any, serve: Any, tmp_path: Path) -> None:
    token = "correct horse battery staple"
    server = serve(served, token=token)

    async def visit(browser: Any) -> None:
        await browser.open(server.address.url)
        await browser.until("!!document.getElementById('token')")
        await browser.value(f"document.getElementById('token').value = {token!r}")
        await browser.value("document.querySelector('form').requestSubmit()")
        await browser.until(f"{FRAME} > 0")
        assert await browser.value("location.href") == server.address.url
        assert await browser.value("document.cookie") == ""  # HttpOnly

    errors = browse(tmp_path / "profile", visit)
    assert [error for error in errors if "401" not in error] == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (320, 568)])
def test_nothing_sticks_out_of_the_window(
    served: Any, serve: Any, tmp_path: Path, width: int, height: int
) -> None:
    server = serve(served)

    async def visit(browser: Any) -> None:
        await browser.look(width, height, "dark", touch=width < 500)
        await browser.open(server.address.url)
        await browser.until(f"{FRAME} > 0")
        assert await browser.value("document.documentElement.scrollWidth") <= width
        outside = (
            "[...document.querySelectorAll('main button, main .card, main canvas')]"
            f".filter(e => e.getBoundingClientRect().right > {width} + 0.5).length"
        )
        assert await browser.value(outside) == 0

    assert browse(tmp_path / "profile", visit) == []

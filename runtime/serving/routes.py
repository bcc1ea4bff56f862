"""The addresses of the server, and what answers them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from engines.failures import UsageError
from runtime.journal import tell
from runtime.serving.access import Access
from runtime.serving.channel import Channel
from runtime.serving.guard import add_headers, guard
from runtime.serving.metrics import CONTENT_TYPE, exposition
from runtime.serving.newest import Newest
from runtime.serving.page_files import page_files
from runtime.serving.sensors import Sensors, read_sensors
from runtime.serving.snapshot import snapshot
from runtime.serving.state import State
from runtime.serving.viewers import LivePage, Screen, mjpeg

BODY = 4096  # bytes of a request's body
PATIENCE = 5.0  # seconds for it to come
MONTH = 30 * 24 * 3600

Body = TypeVar("Body")


@dataclass(frozen=True)
class Service:
    """What the routes answer about.

    `self_test` says why the model must not be relied on, None if it may; it is asked by /readyz.
    """

    channels: list[Channel]
    access: Access
    self_test: Callable[[], str | None] = lambda: None
    sensors: Callable[[], Sensors] = read_sensors
    states: Newest[str] = field(default_factory=Newest)

    def channel(self, request: web.Request) -> Channel:
        """The channel that the path names."""
        name = request.match_info["name"]
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise web.HTTPNotFound(text=f"no stream {name!r}")


class Routes:
    """The handlers, for one service."""

    def __init__(self, service: Service) -> None:
        self.screens = [Screen(channel) for channel in service.channels]
        self.state = State(service.channels)
        self._service = service
        self._files = page_files()
        self._viewers: set[asyncio.Task[Any]] = set()

    def application(self) -> web.Application:
        """What aiohttp runs."""
        access = self._service.access
        result = web.Application(middlewares=[guard(access, self._public)], client_max_size=BODY)
        result.on_response_prepare.append(add_headers)
        result.on_shutdown.append(self._send_home)
        stream = "/api/streams/{name}"
        result.add_routes(
            [
                web.get("/", self.page),
                web.get("/page/{file}", self.file),
                web.post("/login", self.login),
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/metrics", self.metrics),
                web.get("/api/state", self.states),
                web.get("/api/live", self.live),
                web.get(f"{stream}/video.mjpeg", self.video, allow_head=False),
                web.get(f"{stream}/snapshot.png", self.snapshot, allow_head=False),
                web.post(f"{stream}/settings", self.settings),
                web.post(f"{stream}/recording", self.recording),
            ]
        )
        return result

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page; with ?token=... it keeps the cookie and takes the token out of the address."""
        access = self._service.access
        given = request.query.get("token")
        if given is not None and access.is_token(given):
            return self._logged_in()
        if access.admits(request.headers, request.cookies):
            return self._file("index.html")
        if given is not None:
            tell("refused", logging.WARNING, path="/", peer=request.remote, reason="wrong token")
        return self._file("login.html", status=401)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One of the page's files."""
        name = request.match_info["file"]
        if name not in self._files or name.endswith(".html"):
            raise web.HTTPNotFound
        return self._file(name)

    async def login(self, request: web.Request) -> web.StreamResponse:
        """The token typed into the login form."""
        form = await _received(request.post())
        if self._service.access.is_token(str(form.get("token", ""))):
            return self._logged_in()
        tell("refused", logging.WARNING, path="/login", peer=request.remote, reason="wrong token")
        return self._file("login.html", status=401)

    async def healthz(self, _: web.Request) -> web.Response:
        """The process lives; how old the frames are is only told."""
        ages = {channel.name: round(channel.age(), 3) for channel in self._service.channels}
        return web.json_response({"status": "alive", "frame_age_s": ages})

    async def readyz(self, _: web.Request) -> web.Response:
        """200 if the model proved itself and every stream is fresh, else 503 and the reasons."""
        problem = self._service.self_test()
        reasons = [] if problem is None else [problem]
        for channel in self._service.channels:
            condition = channel.condition
            if condition != "live":
                age = f", newest frame {channel.age():.1f} s old" if channel.latest else ""
                reasons.append(f"{channel.name} is {condition}{age}")
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus' text format."""
        text = exposition(self._service.channels, self._service.sensors)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def states(self, _: web.Request) -> web.Response:
        """The state of all streams."""
        return web.json_response(self.state.to_json())

    async def live(self, request: web.Request) -> web.StreamResponse:
        """The page's WebSocket."""
        with self._staying():
            return await LivePage(self.screens, self._service.states).serve(request)

    async def video(self, request: web.Request) -> web.StreamResponse:
        """MJPEG of one stream."""
        channel = self._service.channel(request)
        with self._staying():
            return await mjpeg(request, next(s for s in self.screens if s.channel is channel))

    async def snapshot(self, request: web.Request) -> web.Response:
        """One frame as PNG; ?show=overlay, frame or labels."""
        channel, kind = self._service.channel(request), request.query.get("show", "overlay")
        data = await asyncio.to_thread(snapshot, channel, kind)
        index = channel.latest.frame.index if channel.latest else 0
        name = f"{channel.name}-{index:06d}-{kind}.png"
        headers = {"Content-Disposition": f'inline; filename="{name}"'}
        return web.Response(body=data, content_type="image/png", headers=headers)

    async def settings(self, request: web.Request) -> web.Response:
        """Change some of a stream's switches; answers with all of them."""
        channel = self._service.channel(request)
        wanted = await _json(request)
        after = await asyncio.to_thread(channel.switches.change, wanted)
        if "alpha" in wanted:
            channel.refresh()
        tell("settings changed", stream=channel.name, peer=request.remote, **wanted)
        return web.json_response(asdict(after))

    async def recording(self, request: web.Request) -> web.Response:
        """Start or stop a recording: {"on": true}; the server chooses the file."""
        channel, wanted = self._service.channel(request), await _json(request)
        if channel.recordings is None:
            raise UsageError("recording is off: start the stream with --recordings FOLDER")
        if set(wanted) != {"on"} or not isinstance(wanted["on"], bool):
            raise UsageError('say {"on": true} or {"on": false}')
        change = channel.recordings.start if wanted["on"] else channel.recordings.stop
        await asyncio.to_thread(change)
        return web.json_response(channel.recordings.to_json())

    @contextmanager
    def _staying(self) -> Iterator[None]:
        """Inside the `with`, the request is one that has no end of its own."""
        task = asyncio.current_task()
        assert task is not None
        self._viewers.add(task)
        try:
            yield
        finally:
            self._viewers.discard(task)

    async def _send_home(self, _: web.Application) -> None:
        """End such requests when the server does; nobody needs to wait for them."""
        for task in self._viewers:
            task.cancel()

    def _public(self, request: web.Request) -> bool:
        return request.path in ("/", "/login") or request.path.startswith("/page/")

    def _file(self, name: str, status: int = 200) -> web.Response:
        file = self._files[name]
        return web.Response(
            body=file.content, content_type=file.content_type, charset="utf-8", status=status
        )

    def _logged_in(self) -> web.Response:
        access = self._service.access
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            access.cookie_name, access.cookie, max_age=MONTH, httponly=True, samesite="Strict"
        )
        return response


async def _json(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; anything else is refused."""
    data = await _received(request.json())
    if not isinstance(data, dict):
        raise UsageError("the body must be a JSON object")
    return data


async def _received(body: Coroutine[Any, Any, Body]) -> Body:
    """The body of a request; too slow, broken off, or not of its type is refused."""
    try:
        return await asyncio.wait_for(body, PATIENCE)
    except asyncio.TimeoutError:
        raise UsageError(f"the body did not come within {PATIENCE:g} s") from None
    except ConnectionError:
        raise UsageError("the body broke off") from None
    except (ValueError, LookupError, RecursionError, HttpProcessingError):
        # LookupError: a charset that is none; HttpProcessingError: a header of a form's part
        raise UsageError("the body is not of its Content-Type") from None

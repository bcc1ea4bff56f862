"""Every address of the server, as programs and browsers see it."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from aiohttp import ClientSession, ClientTimeout, CookieJar, WSServerHandshakeError
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from runtime.serving.sensors import Sensors
from runtime.serving.server import Server

TOKEN = "correct horse battery staple"
GETS = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/state",
    "/api/live",
    "/api/streams/camera/video.mjpeg",
    "/api/streams/camera/snapshot.png",
]
POSTS = ["/api/streams/camera/settings", "/api/streams/camera/recording"]
Talk = Callable[[ClientSession], Awaitable[Any]]


def talk(server: Server, conversation: Talk, **options: Any) -> Any:
    """Run a conversation with the server, and return what it returns."""

    async def run() -> Any:
        timeout = ClientTimeout(total=30)
        jar = CookieJar(unsafe=True)  # of addresses in numbers, too
        base = server.address.url
        async with ClientSession(base, timeout=timeout, cookie_jar=jar, **options) as client:
            return await conversation(client)

    return asyncio.run(run())


async def fetch(client: ClientSession, path: str, **options: Any) -> tuple[int, Any]:
    async with client.get(path, **options) as answer:
        body = await answer.read()
        is_json = answer.content_type == "application/json"
        return answer.status, json.loads(body) if is_json else body


async def change(client: ClientSession, path: str, body: Any) -> tuple[int, Any]:
    async with client.post(path, json=body) as answer:
        return answer.status, await answer.json()


def get(server: Server, path: str, **options: Any) -> tuple[int, Any]:
    """Status and body of one request."""
    return cast(tuple[int, Any], talk(server, lambda client: fetch(client, path, **options)))


def post(server: Server, path: str, body: Any) -> tuple[int, Any]:
    """Status and body of one change."""
    return cast(tuple[int, Any], talk(server, lambda client: change(client, path, body)))


def test_health_is_about_the_process_and_readiness_about_the_frames(
    served: Any, serve: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    problem: list[str] = []
    server = serve(served, self_test=lambda: problem[0] if problem else None)
    until(lambda: served.channel.condition == "live")
    assert get(server, "/readyz") == (200, {"status": "ready", "reasons": []})

    problem.append("golden frames differ from the bundle's")
    status, body = get(server, "/readyz")
    assert (status, body["reasons"]) == (503, problem)
    problem.clear()

    served.camera.delivering.clear()
    until(lambda: served.channel.condition == "stale")
    until(lambda: "stream is stale" in caplog.text)
    status, body = get(server, "/readyz")
    assert status == 503
    assert body["reasons"][0].startswith("camera is stale, newest frame ")
    status, body = get(server, "/healthz")
    assert (status, body["status"]) == (200, "alive")
    assert body["frame_age_s"]["camera"] >= 0.5

    served.camera.delivering.set()
    until(lambda: served.channel.condition == "live")


def test_without_a_frame_nothing_is_ready_and_nothing_breaks(served: Any, serve: Any) -> None:
    served.camera.delivering.clear()
    while served.channel.latest is not None:  # one was on its way: look at a server before it
        served.channel.latest = None
    server = serve(served)
    status, body = get(server, "/readyz")
    assert (status, body["reasons"]) == (503, ["camera is starting"])
    assert get(server, GETS[-1])[0] == 409
    state = get(server, "/api/state")[1]["streams"][0]
    assert (state["condition"], state["fps"], state["size"]) == ("starting", 0.0, [0, 0])


def test_state_tells_all_that_the_page_shows(served: Any, serve: Any, until: Any) -> None:
    server = serve(served)
    until(lambda: served.stream.ages.count > 5)
    _, body = get(server, "/api/state")
    (state,) = body["streams"]
    assert state["title"] == "rtsp://***@10.0.0.7/live"
    assert state["size"] == [48, 64]
    assert [entry["name"] for entry in state["classes"]] == ["dark", "middle", "bright"]
    assert sum(entry["share"] for entry in state["classes"]) == pytest.approx(1, abs=0.001)
    assert state["classes"][0]["colour"] == "#c80000"
    assert state["settings"] == {"alpha": 0.5, "crf": "off", "precision": "fp32", "paused": False}
    assert state["choices"]["precision"] == ["fp32", "int8"]
    assert {"prepare", "infer", "labels"} <= state["stages_ms"].keys()


def test_metrics_pass_a_parser_and_count_what_happened(served: Any, serve: Any, until: Any) -> None:
    server = serve(served)
    until(lambda: served.stream.ages.count > 5)
    _, text = get(server, "/metrics")
    families = {f.name: f for f in text_string_to_metric_families(text.decode())}
    (frames,) = families["deeplab_frames"].samples
    assert frames.labels == {"stream": "camera"}
    assert 5 < frames.value <= served.stream.ages.count
    ages = families["deeplab_frame_age_seconds"]
    assert ages.type == "histogram"
    buckets = [s.value for s in ages.samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    (count,) = [s.value for s in ages.samples if s.name.endswith("_count")]
    assert buckets[-1] == count
    stages = {s.labels["stage"] for s in families["deeplab_stage_seconds"].samples}
    assert {"capture", "prepare", "infer", "labels"} <= stages
    assert b"hunter2" not in text
    assert b"10.0.0.7" not in text  # addresses would be labels without bound


def test_metrics_of_a_jetson(served: Any) -> None:
    from runtime.serving.metrics import exposition

    sensors = Sensors({"cpu-thermal": 48.5}, {"VDD_IN": 6.25})
    text = exposition([served.channel], lambda: sensors).decode()
    assert 'deeplab_temperature_celsius{zone="cpu-thermal"} 48.5' in text
    assert 'deeplab_power_watts{rail="VDD_IN"} 6.25' in text


def test_mjpeg_moves_and_tells_ages(served: Any, serve: Any) -> None:
    async def watch(client: ClientSession) -> list[bytes]:
        async with client.get("/api/streams/camera/video.mjpeg") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
            parts: list[bytes] = []
            while len(parts) < 3:
                head = await answer.content.readuntil(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                assert float(head.split(b"X-Frame-Age-Ms: ")[1].split(b"\r\n")[0]) > 0
                parts.append(await answer.content.readexactly(length))
                await answer.content.readexactly(2)
            return parts

    pictures = [Image.open(io.BytesIO(part)) for part in talk(serve(served), watch)]
    assert {picture.size for picture in pictures} == {(64, 48)}
    means = [np.asarray(picture).mean() for picture in pictures]
    assert len({round(mean) for mean in means}) > 1


def test_a_picture_is_encoded_once_for_all_and_not_at_all_for_nobody(
    served: Any, serve: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.serving import channel

    encoded: list[bytes] = []
    jpeg = channel.jpeg

    def counted(picture: Any) -> bytes:
        encoded.append(jpeg(picture))
        return encoded[-1]

    monkeypatch.setattr(channel, "jpeg", counted)
    server = serve(served)
    until(lambda: served.stream.ages.count > 5)
    assert not encoded

    async def watch(client: ClientSession) -> int:
        async def viewer() -> int:
            async with client.get("/api/streams/camera/video.mjpeg") as answer:
                data = b""
                while data.count(b"--frame") < 6:
                    data += await answer.content.readany()
                return data.count(b"--frame")

        return sum(await asyncio.gather(*(viewer() for _ in range(20))))

    seen = talk(server, watch)
    assert seen >= 20 * 6
    assert len(encoded) < seen / 4
    until(lambda: served.channel.viewers == 0)


def test_snapshots(served: Any, serve: Any, until: Any) -> None:
    server = serve(served)
    until(lambda: served.channel.latest is not None)
    served.camera.delivering.clear()
    until(lambda: served.channel.condition == "stale")
    path = "/api/streams/camera/snapshot.png"
    overlay, frame, labels = (
        Image.open(io.BytesIO(get(server, f"{path}?show={kind}")[1]))
        for kind in ("overlay", "frame", "labels")
    )
    assert labels.mode == "P"
    assert set(np.unique(np.asarray(labels))) <= {0, 1, 2}
    assert labels.getpalette()[:9] == [200, 0, 0, 0, 200, 0, 0, 0, 200]  # type: ignore[index]
    mixed = (np.asarray(frame, float) + np.asarray(labels.convert("RGB"), float)) / 2
    assert np.array_equal(np.asarray(frame), served.channel.latest.frame.image)
    assert np.abs(np.asarray(overlay, float) - mixed).max() <= 1
    assert get(server, f"{path}?show=/etc/passwd")[0] == 400


def test_settings_are_checked_as_a_whole(served: Any, serve: Any) -> None:
    server = serve(served)
    path = POSTS[0]
    status, after = post(server, path, {"alpha": 0.25, "crf": "fast"})
    assert (status, after["alpha"], after["crf"]) == (200, 0.25, "fast")
    assert served.channel.switches.now.crf == "fast"
    wrong: list[Any] = [
        {"alpha": 2},
        {"alpha": True},
        {"alpha": "1"},
        {"crf": "best", "alpha": 0},
        {"precision": "../x"},
        {"paused": 1},
        {"camera": "rtsp://evil/"},
        {"record": "/etc/passwd"},
        [],
    ]
    for body in wrong:
        status, answer = post(server, path, body)
        assert status == 400, body
        assert answer["error"]
    assert served.channel.switches.now.alpha == 0.25
    assert len(served.changes) == 1


def test_a_pause_is_no_staleness(served: Any, serve: Any, until: Any) -> None:
    server = serve(served)
    until(lambda: served.channel.condition == "live")
    post(server, POSTS[0], {"paused": True})
    assert served.channel.condition == "paused"
    assert served.channel.well()  # a watchdog must not restart what a viewer paused
    status, body = get(server, "/readyz")
    assert (status, body["reasons"][0].split(",")[0]) == (503, "camera is paused")

    async def first_picture(client: ClientSession) -> bytes:
        async with client.get("/api/streams/camera/video.mjpeg") as answer:
            return await answer.content.readuntil(b"\xff\xd9")

    assert b"\xff\xd8" in talk(server, first_picture)  # who comes now sees the last picture
    post(server, POSTS[0], {"paused": False})
    until(lambda: served.channel.condition == "live")


def test_recording_goes_where_the_server_says(
    served: Any, serve: Any, until: Any, tmp_path: Path
) -> None:
    server = serve(served)
    wrong: list[Any] = [{"on": 1}, {}, {"on": True, "file": "/tmp/x.mp4"}, []]
    for body in wrong:
        assert post(server, POSTS[1], body)[0] == 400
    status, answer = post(server, POSTS[1], {"on": True})
    assert status == 200
    until(lambda: served.channel.recordings.to_json()["running"]["frames"] > 3)
    post(server, POSTS[1], {"on": False})
    (file,) = (tmp_path / "recordings").iterdir()
    assert file.name == answer["running"]["file"]
    with av.open(str(file)) as container:
        assert len(list(container.decode(video=0))) > 3


def test_a_disk_that_is_pulled_out_ends_the_recording(
    served: Any, serve: Any, until: Any, tmp_path: Path
) -> None:
    server = serve(served)
    post(server, POSTS[1], {"on": True})
    until(lambda: served.channel.recordings.to_json()["running"]["frames"] > 0)
    shutil.rmtree(tmp_path / "recordings")
    until(lambda: not served.channel.recordings.running)
    assert "is its disk there?" in served.channel.recordings.to_json()["problem"]
    status, answer = post(server, POSTS[1], {"on": True})
    assert (status, "is its disk there?" in answer["error"]) == (409, True)


def test_a_folder_that_takes_no_file_is_told(
    served: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # root may write anywhere

    monkeypatch.setattr("runtime.sinks.recorder._temporary", refused)
    status, answer = post(serve(served), POSTS[1], {"on": True})
    assert (status, "Permission denied" in answer["error"]) == (409, True)


def test_a_full_disk_ends_the_recording_not_the_stream(
    served: Any, serve: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.serving import recordings

    server = serve(served)
    post(server, POSTS[1], {"on": True})
    until(lambda: served.channel.recordings.to_json()["running"]["frames"] > 0)
    monkeypatch.setattr(recordings, "ROOM", 1 << 62)
    until(lambda: not served.channel.recordings.running)
    assert "free" in served.channel.recordings.to_json()["problem"]
    status, answer = post(server, POSTS[1], {"on": True})
    assert (status, "free" in answer["error"]) == (409, True)
    count = served.stream.ages.count
    until(lambda: served.stream.ages.count > count)


@pytest.mark.parametrize("path", GETS)
def test_every_address_asks_for_the_token(served: Any, serve: Any, path: str, until: Any) -> None:
    server = serve(served, token=TOKEN)
    until(lambda: served.channel.latest is not None)
    wrong = {"Authorization": "Bearer wrong"}
    for headers in ({}, wrong):
        status, body = get(server, path, headers=headers)
        assert status == 401
        assert TOKEN not in str(body)
    assert get(server, f"{path}?token={TOKEN}")[0] == 401

    async def knock(client: ClientSession) -> int:
        async with client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            return answer.status

    assert talk(server, knock) in (200, 400)  # 400: a WebSocket was wanted


@pytest.mark.parametrize("path", POSTS)
def test_every_change_asks_for_the_token(served: Any, serve: Any, path: str) -> None:
    server = serve(served, token=TOKEN)
    assert post(server, path, {"paused": True})[0] == 401
    assert not served.changes


@pytest.mark.parametrize("way", ["address", "form"])
def test_the_page_keeps_a_cookie_and_hides_the_token(served: Any, serve: Any, way: str) -> None:
    server = serve(served, token=TOKEN)

    async def visit(client: ClientSession) -> None:
        status, page = await fetch(client, "/")
        assert status == 401
        assert b'action="/login"' in page
        assert (await fetch(client, "/?token=wrong"))[0] == 401
        async with client.post("/login", data={"token": "wrong"}) as answer:
            assert answer.status == 401
        if way == "address":
            answer = await client.get("/", params={"token": TOKEN}, allow_redirects=False)
        else:
            answer = await client.post("/login", data={"token": TOKEN}, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        status, page = await fetch(client, "/")
        assert status == 200
        assert b'id="legend"' in page
        assert (await fetch(client, "/api/state"))[0] == 200

    talk(server, visit)


def test_answers_carry_the_headers_of_a_careful_server(served: Any, serve: Any) -> None:
    server = serve(served)

    async def headers(client: ClientSession) -> None:
        for path in ("/", "/api/state", "/nowhere", "/page/app.js"):
            async with client.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert "Access-Control-Allow-Origin" not in answer.headers
                assert "aiohttp" not in answer.headers["Server"].lower()

    talk(server, headers)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_other_sites_get_nothing(
    served: Any, serve: Any, headers: dict[str, str], status: int
) -> None:
    server = serve(served)
    assert get(server, "/api/state", headers=headers)[0] == status


def test_a_link_from_elsewhere_may_lead_to_the_page(served: Any, serve: Any) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert get(serve(served), "/", headers=headers)[0] == 200


def test_forms_and_other_methods_change_nothing(served: Any, serve: Any) -> None:
    server = serve(served)

    async def attack(client: ClientSession) -> None:
        plain = {"Content-Type": "text/plain"}
        for data, headers in ((b'{"paused": true}', plain), ({"paused": "true"}, None)):
            async with client.post(POSTS[0], data=data, headers=headers) as answer:
                assert answer.status == 415
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
            async with client.request(method, POSTS[0], json={"paused": True}) as answer:
                assert answer.status == 405
        big = {"alpha": 0.5, "x": "y" * 5000}
        async with client.post(POSTS[0], json=big) as answer:
            assert answer.status == 413
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/api/live", headers={"Origin": "http://evil.example"})
        assert refused.value.status == 403

    talk(server, attack)
    assert not served.changes


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page",
        "/page/index.html",
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/..%2fserver.py",
        "/page/%2fetc%2fpasswd",
        "//etc/passwd",
        "/api/streams/../../metrics/snapshot.png",
        "/api/streams/other/snapshot.png",
    ],
)
def test_no_path_leads_out_of_the_page(served: Any, serve: Any, path: str) -> None:
    server = serve(served)

    async def raw() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        return answer

    assert asyncio.run(raw()).split()[1] in (b"404", b"400")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    from runtime.serving.page_files import page_files

    for name, file in page_files().items():
        text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text, name
        assert "http://" not in text, name
        if name.endswith(".html"):
            assert "<style" not in text
            assert "style=" not in text
            assert " onclick" not in text


def test_live_page_talks_over_one_socket(served: Any, serve: Any) -> None:
    server = serve(served)

    async def page(client: ClientSession) -> None:
        async with client.ws_connect("/api/live") as line:
            state = json.loads(await line.receive_str())
            assert state["streams"][0]["name"] == "camera"
            await line.send_json({"watch": [0]})
            pictures: list[bytes] = []
            while len(pictures) < 2:  # as many as may be on their way
                message = await line.receive()
                if isinstance(message.data, bytes):
                    pictures.append(message.data)
            assert all(picture[9:11] == b"\xff\xd8" for picture in pictures)
            for _ in range(3):  # states go on, pictures wait for the page to show one
                assert isinstance((await line.receive()).data, str)
            await line.send_json({"shown": 0})
            while not isinstance((message := await line.receive()).data, bytes):
                pass
            first, newest = (int.from_bytes(p[1:5], "little") for p in (pictures[0], message.data))
            assert newest > first + 2  # not the next one: the newest
            await line.send_json({"watch": []})
            await line.send_str("no JSON")
            while not (await line.receive()).type.name.startswith("CLOS"):
                pass

    talk(server, page)


def test_a_viewer_that_never_reads_is_left_behind(served: Any, serve: Any, until: Any) -> None:
    server = serve(served)
    head = "GET /api/streams/camera/video.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def sleep_through() -> int:
        lazy = [await asyncio.open_connection("127.0.0.1", server.address.port) for _ in range(5)]
        for _, writer in lazy:
            writer.write(head.encode())
            await writer.drain()
        while served.channel.viewers < 5:
            await asyncio.sleep(0.01)
        before, start = served.stream.ages.count, time.monotonic()
        while served.stream.ages.count < before + 25:
            assert time.monotonic() < start + 30
            await asyncio.sleep(0.01)
        for _, writer in lazy:
            writer.transport.abort()
        return int(served.stream.ages.count - before)

    assert asyncio.run(sleep_through()) >= 25
    until(lambda: served.channel.viewers == 0)

"""Pieces of a video against the whole of it, as `VideoSource` reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.failures import SourceFailed
from runtime.labelling import shard_source
from runtime.labelling.plan import Plan, Shard
from runtime.labelling.shard_source import VideoShard
from runtime.labelling.video_shards import plan_video, shards_of
from runtime.source import Frame
from runtime.sources.video_file import VideoSource, open_video

KINDS = [
    pytest.param("a.mp4", "libx264", {"g": "8", "bf": "3"}, True, id="h264, closed groups"),
    pytest.param(
        "a.mkv", "libx264", {"g": "8", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}, True,
        id="h264, open groups",
    ),
    pytest.param(
        "a.mkv", "libx264", {"g": "8", "x264-params": "intra-refresh=1:scenecut=0"}, True,
        id="h264, intra refresh",
    ),
    pytest.param(
        "a.mkv", "libx265", {"g": "8", "x265-params": "open-gop=1:log-level=none:keyint=8"}, True,
        id="h265, open groups",
    ),
    pytest.param("a.ts", "libx264", {"g": "8", "bf": "2"}, True, id="h264 in a transport stream"),
    pytest.param("a.mpg", "mpeg2video", {"g": "8", "bf": "2"}, True, id="mpeg2, open groups"),
    pytest.param("a.avi", "mpeg4", {"g": "8"}, True, id="mpeg4 in avi"),
    pytest.param("a.h264", "libx264", {"g": "8"}, False, id="h264 without times"),
    pytest.param("a.webm", "libvpx-vp9", {"g": "8", "lag-in-frames": "9"}, True, id="vp9"),
    pytest.param("a.mkv", "ffv1", {"g": "1"}, True, id="ffv1, keyframes alone"),
]  # fmt: skip


def whole(path: Path) -> list[Frame]:
    return list(VideoSource(path))


def pieces(plan: Plan) -> list[Frame]:
    path = Path(plan.files[0].path)
    return [frame for shard in plan.shards for frame in VideoShard(path, shard)]


def assert_same(ours: list[Frame], theirs: list[Frame]) -> None:
    assert [frame.index for frame in ours] == [frame.index for frame in theirs]
    assert [frame.time for frame in ours] == pytest.approx([frame.time for frame in theirs])
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize(("name", "codec", "options", "several"), KINDS)
def test_pieces_are_the_whole(
    make_clip: Callable[..., Path],
    tmp_path: Path,
    name: str,
    codec: str,
    options: dict[str, str],
    several: bool,
) -> None:
    path = make_clip(tmp_path / name, 40, codec, **options)
    plan = plan_video(name, path, frames=10)
    assert_same(pieces(plan), whole(path))
    assert sum(shard.count for shard in plan.shards) == 40
    assert (len(plan.shards) > 1) == several


def test_a_seek_that_misses_is_made_up_for(
    make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that seeks to a later keyframe than it was told to."""
    path = make_clip(tmp_path / "a.mkv", 40, g="8")
    plan = plan_video("a.mkv", path, frames=10)
    opened = []

    class Late:
        def __init__(self, path: Path) -> None:
            self._container = open_video(path)
            opened.append(path)

        def __enter__(self) -> Any:
            self._container.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self._container.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def seek(self, offset: int, stream: Any) -> None:
            self._container.seek(offset + 320, stream=stream)

    monkeypatch.setattr(shard_source, "open_video", Late)
    assert_same(pieces(plan), whole(path))
    assert len(opened) == 4  # the second shard twice; after the third's keyframe there is none


def test_an_intra_refresh_is_decoded_from_the_beginning(
    make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    """What its container calls keyframes are none."""
    options = {"g": "8", "x264-params": "intra-refresh=1:scenecut=0"}
    path = make_clip(tmp_path / "a.mkv", 40, **options)
    shard = plan_video("a.mkv", path, frames=10).shards[1]
    source = VideoShard(path, shard)
    steps = source._decode(seek=True)
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value is False


def test_where_a_video_may_be_cut() -> None:
    packets = [(time, time % 4 == 0) for time in range(12)]
    assert list(shards_of(packets, 1)) == [
        Shard(0, 4, 0, 4, 0), Shard(4, 4, 4, 8, 0), Shard(8, 4, 8, None, 0),
    ]  # fmt: skip
    assert list(shards_of(packets, 5)) == [Shard(0, 8, 0, 8, 0), Shard(8, 4, 8, None, 0)]
    assert list(shards_of([(None, True), (1, True)], 1)) == [Shard(0, 2)]
    assert list(shards_of([(1, True), (1, True), (2, True)], 1)) == [Shard(0, 3)]


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 5000])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceFailed, match=r"a\.mp4"):
        plan_video("a.mp4", path)

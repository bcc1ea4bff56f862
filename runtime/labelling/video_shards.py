"""Where a video may be cut: at keyframes, found without decoding it.

A shard begins at a keyframe and has every frame that is shown from there until the next shard's
keyframe. So each shard is decoded once, by one worker, from its own keyframe on; and frames that
are shown before a keyframe but decoded after it (an open group of pictures) belong to the shard
before, whose worker decodes on until it has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from engines.failures import SourceFailed
from runtime.labelling.plan import Plan, Shard, SourceFile
from runtime.sources.decoding import reason
from runtime.sources.video_file import open_video

FRAMES = 100  # of a shard, at least: some seconds of work, so that Ray's milliseconds vanish


def plan_video(name: str, path: Path, frames: int = FRAMES) -> Plan:
    """A video's shards; `SourceFailed` if it cannot be read to its end."""
    file = SourceFile.of(name, path)
    try:
        with open_video(path) as container:
            packets = [
                (packet.pts, packet.is_keyframe)
                for packet in container.demux(video=0)
                if packet.size and not packet.is_discard
            ]
    except av.FFmpegError as error:
        raise SourceFailed(
            f"{path} breaks off ({reason(error)}): repair it with ffmpeg -i IN -c copy OUT.mkv"
        ) from None
    if not packets:
        raise SourceFailed(f"{path} has not a single frame: is the file complete?")
    return Plan((file,), tuple(shards_of(packets, frames)), is_video=True)


def shards_of(packets: Sequence[tuple[int | None, bool]], frames: int) -> Iterator[Shard]:
    """Shards of at least `frames` each, from the time and keyframe flag of every packet.

    A video without times, or with one twice, is one shard: its frames cannot be told apart.
    """
    shown = sorted(time for time, _ in packets if time is not None)
    if len(set(shown)) < len(packets):
        yield Shard(0, len(packets))
        return
    keyframes = {time for time, keyframe in packets if keyframe}
    first = 0
    for index, time in enumerate(shown):
        if time in keyframes and index - first >= frames:
            yield Shard(first, index - first, shown[first], time, shown[0])
            first = index
    yield Shard(first, len(shown) - first, shown[first], None, shown[0])

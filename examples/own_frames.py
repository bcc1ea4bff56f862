"""Segment pictures that a program already has: here two shots of the virtual street.

Any iterable of arrays [H, W, 3], uint8 RGB, is a camera; `segment` is for a single picture.

    python examples/own_frames.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engines.failures import Failure
from runtime.api import open_stream, segment
from scenes.street import StreetCamera


def film(frames: int) -> Iterator[NDArray[np.uint8]]:
    camera = StreetCamera(seed=7)
    for index in range(frames):
        yield camera.scene(index).frame


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="artifacts/camvid-mobilenetv2")
    parser.add_argument("--frames", type=int, default=10)
    args = parser.parse_args(argv)

    with open_stream(film(args.frames), bundle=args.bundle) as stream:
        for result in stream:
            largest = max(result.shares, key=result.share)
            print(f"frame {result.index}: {result.share(largest):.0%} {largest}")

    picture = segment(next(film(1)), bundle=args.bundle)
    print(f"one picture: {len(picture.regions(min_region=0.001))} regions")


if __name__ == "__main__":
    try:
        main()
    except Failure as error:  # one sentence for people: no such camera, bundle or class
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        pass  # the way to end it

"""Save a picture whenever a class covers more than a share of the frame, once each time.

python examples/save_when.py street: Car 0.1 --folder pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from engines.failures import Failure
from runtime.api import open_stream


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camera", help="what --camera of runtime/stream.py takes")
    parser.add_argument("name", help="of the class, for example Car")
    parser.add_argument("share", type=float, help="0 to 1")
    parser.add_argument("--folder", type=Path, default=Path("pictures"))
    parser.add_argument("--bundle", default="artifacts/camvid-mobilenetv2")
    parser.add_argument("--frames", type=int, default=0, help="stop after N (0: never)")
    args = parser.parse_args(argv)

    args.folder.mkdir(parents=True, exist_ok=True)
    above = False
    with open_stream(args.camera, bundle=args.bundle) as stream:
        for result in stream:
            share = result.share(args.name)
            if share > args.share and not above:
                path = args.folder / f"{result.index:08}-{args.name}.jpg"
                Image.fromarray(result.overlay(alpha=0.4)).save(path)
                print(f"{path}: {share:.1%} {args.name}", flush=True)
            # A little below, so that a share at the limit does not save every second frame.
            above = share > (0.9 * args.share if above else args.share)
            if result.index + 1 == args.frames:
                break


if __name__ == "__main__":
    try:
        main()
    except Failure as error:  # one sentence for people: no such camera, bundle or class
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        pass  # the way to end it

"""Count the groups of people in view, and say when their number changes.

python examples/count_people.py street:
python examples/count_people.py rtsp://192.168.0.20/live
"""

from __future__ import annotations

import argparse

from engines.failures import Failure
from runtime.api import open_stream

NOTICEABLE = 0.0005  # share of the frame: smaller regions are mostly noise


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camera", help="what --camera of runtime/stream.py takes")
    parser.add_argument("--bundle", default="artifacts/camvid-mobilenetv2")
    parser.add_argument("--frames", type=int, default=0, help="stop after N (0: never)")
    args = parser.parse_args(argv)

    before = None
    with open_stream(args.camera, bundle=args.bundle) as stream:
        for result in stream:
            # Labels do not tell one person from the next: people who touch are one region.
            people = result.regions("Pedestrian", min_region=NOTICEABLE)
            if len(people) != before:
                boxes = ", ".join(str(person.box) for person in people)
                print(f"{result.time:7.2f} s: {len(people)} {boxes}", flush=True)
                before = len(people)
            if result.index + 1 == args.frames:
                break


if __name__ == "__main__":
    try:
        main()
    except Failure as error:  # one sentence for people: no such camera, bundle or class
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        pass  # the way to end it

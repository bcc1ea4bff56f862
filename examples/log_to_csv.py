"""A sink and hooks of your own: a row of class shares a second, and what happens to the cameras.

python examples/log_to_csv.py shares.csv 0 rtsp://192.168.0.20/live
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from engines.failures import Failure
from runtime.api import Segmented, Status, open_stream

PERIOD = 1.0  # seconds between two rows of a camera


class ShareLog:
    """Writes a row for each camera and period; use with `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: dict[int, float] = {}

    def __enter__(self) -> ShareLog:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w", newline="")
        self._rows = csv.writer(self._file)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, result: Segmented) -> None:
        """Append a row if it is time for one, under the names of the classes."""
        if not self._next:
            self._rows.writerow(["camera", "time", "age_ms", *result.shares])
        if result.time < self._next.get(result.camera, 0.0):
            return
        self._next[result.camera] = result.time + PERIOD
        shares = [round(share, 4) for share in result.shares.values()]
        self._rows.writerow([result.camera, result.time, round(1e3 * result.age), *shares])
        self._file.flush()


def tell(camera: int, status: Status) -> None:
    print(f"camera {camera} is {status.state.value} {status.detail}", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="to write, .csv")
    parser.add_argument("camera", nargs="+", help="what --camera of runtime/stream.py takes")
    parser.add_argument("--bundle", default="artifacts/camvid-mobilenetv2")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args(argv)

    with (
        ShareLog(args.file) as log,
        open_stream(*args.camera, bundle=args.bundle, on_result=log.write, on_state=tell) as stream,
    ):
        for result in stream:
            if result.time >= args.seconds:
                break


if __name__ == "__main__":
    try:
        main()
    except Failure as error:  # one sentence for people: no such camera, bundle or class
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        pass  # the way to end it

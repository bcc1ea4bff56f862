"""Put evenly spaced frames of a video on one PNG, to see at a glance what a recording shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.atomic import check_writable, replacing
from engines.command import parser, run_command
from engines.failures import SourceFailed, UsageError


@dataclass(frozen=True)
class Options:
    """Which video, how many tiles across and down, and how wide the sheet is in pixels."""

    video: Path
    picture: Path
    columns: int = 3
    rows: int = 3
    width: int = 1440
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.picture.suffix.lower() != ".png":
            raise UsageError(f"{self.picture}: give it a name that ends in .png")
        check_writable(self.picture)
        if min(self.columns, self.rows) < 1 or self.width < self.columns:
            raise UsageError("--columns and --rows must be at least 1, --width above --columns")


@dataclass(frozen=True)
class Result:
    """The sheet and how many frames it shows."""

    picture: Path
    frames: int


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python runtime/contact_sheet.py stream.mp4 frames.png")
    p.add_argument("video", type=Path, metavar="VIDEO", help="to look at")
    p.add_argument("picture", type=Path, metavar="PICTURE", help="to write, .png")
    p.add_argument("--columns", type=int, default=Options.columns, metavar="N", help="of frames")
    p.add_argument("--rows", type=int, default=Options.rows, metavar="N", help="of frames")
    p.add_argument("--width", type=int, default=Options.width, metavar="N", help="of the PNG")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Decode the video twice (count, then pick), so that memory holds only the chosen frames."""
    import av
    from PIL import Image

    from runtime.sources.decoding import reason

    try:
        with av.open(options.video) as container:
            count = sum(1 for _ in container.decode(video=0))
        wanted = options.columns * options.rows
        chosen = {round(i * (count - 1) / max(wanted - 1, 1)) for i in range(wanted)}
        with av.open(options.video) as container:
            decoded = enumerate(container.decode(video=0))
            pictures = [f.to_ndarray(format="rgb24") for i, f in decoded if i in chosen]
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise SourceFailed(f"{options.video} is not a readable video: {reason(error)}") from error
    tiles = [Image.fromarray(picture) for picture in pictures]
    if not tiles:
        raise SourceFailed(f"{options.video} holds no frame")
    width = options.width // options.columns
    height = round(width * tiles[0].height / tiles[0].width)
    rows = -(-len(tiles) // options.columns)
    sheet = Image.new("RGB", (width * options.columns, height * rows))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, options.columns)
        sheet.paste(tile.resize((width, height)), (column * width, row * height))
    with replacing(options.picture) as temporary:
        sheet.save(temporary, format="PNG")
    return Result(options.picture, len(tiles))


def show(result: Result) -> None:
    """Say where the sheet is."""
    print(f"{result.picture}  ({result.frames} frames)")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())

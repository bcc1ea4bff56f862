"""What `--input` names: videos and images, each under the name that its labels will bear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.failures import UsageError
from runtime.sources.folder import IMAGES

# What a folder is searched for; a file that is named itself may have any ending.
VIDEOS = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts"),
        *(".flv", ".ogv", ".wmv", ".asf", ".mxf", ".ivf", ".nut", ".3gp", ".y4m", ".gif"),
        *(".h264", ".264", ".hevc", ".h265", ".265", ".av1", ".obu"),
    }
)


@dataclass(frozen=True)
class Inputs:
    """Files by name: the path below the folder that was named, or the name of a file itself."""

    videos: dict[str, Path]
    images: dict[str, Path]
    ignored: int  # files of folders that are neither

    def describe(self) -> str:
        """How many of what, for people."""
        others = f" ({self.ignored} other files left alone)" if self.ignored else ""
        return f"{len(self.videos)} videos, {len(self.images)} images{others}"


def find_inputs(named: Sequence[Path], output: Path) -> Inputs:
    """Every video and image below `named`, in the order of names.

    Raises:
        UsageError: One is not there, two files bear one name, there is none, or `output` lies
            among them: the next run would label label maps.
    """
    found: dict[str, Path] = {}
    named_files: set[Path] = set()
    for path in named:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise UsageError(f"--output {output} lies in --input {path}: name a folder beside it")
        if not path.exists():
            raise UsageError(f"--input {path}: there is no such file or folder")
        if not path.is_dir():
            named_files.add(path)
        for name, file in _below(path):
            if name in found and found[name].resolve() != file.resolve():
                raise UsageError(
                    f"{found[name]} and {file} would both be labelled as {name}: give them an "
                    "--output each"
                )
            found[name] = file.absolute()
    return _sorted_out(found, {path.absolute() for path in named_files})


def _below(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    for file in path.rglob("*"):
        below = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in below.parts):
            yield below.as_posix(), file


def _sorted_out(found: dict[str, Path], named: set[Path]) -> Inputs:
    names = sorted(found)
    images = {n: found[n] for n in names if found[n].suffix.lower() in IMAGES}
    videos = {
        n: found[n]
        for n in names
        if n not in images and (found[n] in named or found[n].suffix.lower() in VIDEOS)
    }
    if not videos and not images:
        raise UsageError(f"--input has no video and no image ({len(found)} other files)")
    return Inputs(videos, images, len(found) - len(videos) - len(images))

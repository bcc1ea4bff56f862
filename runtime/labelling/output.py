"""The folder that labels are written to, and what in it says that a shard is finished.

    run.json                                 the model and settings of every label map below
    labels/clips/a.mp4/00000012.png          frame 12 of a video
    labels/photos/b.jpg.png                  an image
    statistics/clips/a.mp4/plan.json         the video's shards
    statistics/clips/a.mp4/00000000.jsonl    a line for each frame of the shard from frame 0 on

A shard's statistics appear whole, after all of its label maps: while they are missing, the shard
counts as not begun. Whatever it left behind is written again, with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.atomic import write_text
from engines.failures import Failure, Refused
from runtime.labelling.plan import Plan, Shard

RUN = "run.json"
PLAN = "plan.json"


class Output:
    """Where everything is below the folder that `--output` names."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self, settings: dict[str, Any]) -> None:
        """Write the settings; `Refused` if the folder has labels of other ones, or other files."""
        path = self.root / RUN
        if self.root.is_file():
            raise Refused(f"{self.root} is a file: name a folder for --output")
        if not path.exists():
            if self.root.is_dir() and any(not f.name.startswith(".") for f in self.root.iterdir()):
                raise Refused(
                    f"{self.root} has files in it, and no {RUN}: name an empty --output folder"
                )
            with writing(path):
                write_text(path, json.dumps(settings, indent=1) + "\n")
            return
        try:
            before: dict[str, Any] = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise Refused(f"{path} cannot be read ({error}): name another --output") from None
        settings = json.loads(json.dumps(settings))
        names = before.keys() | settings.keys()
        other = sorted(name for name in names if before.get(name) != settings.get(name))
        if other:
            told = "; ".join(f"{n} {before.get(n)}, now {settings.get(n)}" for n in other)
            raise Refused(
                f"{self.root} has labels of other settings ({told}): name another --output"
            )

    def plan_file(self, key: str) -> Path:
        """Where a plan is."""
        return self.root / "statistics" / key / PLAN

    def statistics(self, key: str, shard: Shard) -> Path:
        """Where a shard's statistics are, once it is finished."""
        return self.root / "statistics" / key / f"{shard.first:08}.jsonl"

    def plan(self, key: str, plan: Plan) -> None:
        """Write a plan."""
        path = self.plan_file(key)
        with writing(path):
            write_text(path, plan.text())

    def label_map(self, plan: Plan, index: int) -> Path:
        """Where the labels of a frame are."""
        if plan.is_video:
            return self.root / "labels" / plan.files[0].name / f"{index:08}.png"
        return self.root / "labels" / f"{plan.files[index].name}.png"

    def write(self, path: Path, data: bytes) -> None:
        """Write a label map; what a worker that dies leaves half written is written again."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def finished(self, key: str, shard: Shard) -> int | None:
        """How many frames a finished shard has, None if it is not finished."""
        try:
            return self.statistics(key, shard).read_bytes().count(b"\n")
        except FileNotFoundError:
            return None

    def finish(self, key: str, shard: Shard, lines: Iterable[dict[str, Any]]) -> None:
        """Write a shard's statistics, by which it becomes finished."""
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        path = self.statistics(key, shard)
        with writing(path):
            write_text(path, text)

    @contextmanager
    def attempt(self, key: str, shard: Shard, run: str) -> Iterator[int]:
        """Which attempt at a shard the body of the `with` is, of the run with this name: 1, 2, ...

        The number outlives a worker that the attempt kills.
        """
        path = self.statistics(key, shard).with_name(f".{shard.first:08}.attempts")
        before = path.read_text().split() if path.exists() else []
        attempts = 1 + (int(before[1]) if before[:1] == [run] else 0)
        with writing(path):
            path.write_text(f"{run} {attempts}")
        yield attempts
        path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An error of the system in the `with` becomes a `Failure` for the user."""
    try:
        yield
    except OSError as error:
        raise Failure(
            f"{path} was not written ({error.strerror}): is there room on the disk? "
            f"df -h {path.parent}"
        ) from error

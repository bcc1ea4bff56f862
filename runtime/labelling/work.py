"""What there is to do, as videos and groups of images; each becomes shards where it is done."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.failures import Refused
from runtime.labelling.inputs import Inputs
from runtime.labelling.output import PLAN, Output
from runtime.labelling.plan import Plan, Shard, SourceFile
from runtime.labelling.video_shards import FRAMES, plan_video


@dataclass(frozen=True)
class Unit:
    """A video, or a group of images, which has a plan already; `key` names its statistics."""

    key: str
    video: Path | None


def units_of(inputs: Inputs, output: Output) -> list[Unit]:
    """Videos as they are, and the images grouped by folder.

    Groups of an earlier run stay as they were; images that came since, or could not be read, are
    grouped anew.
    """
    known, groups = _known(inputs, output)
    fresh: dict[str, list[str]] = {}
    for name in inputs.images.keys() - known:
        fresh.setdefault(name.rpartition("/")[0], []).append(name)
    for folder, names in sorted(fresh.items()):
        names.sort()
        for start in range(0, len(names), FRAMES):
            groups.append(_group(folder, names[start : start + FRAMES], inputs, output))
    return [
        *(Unit(name, path) for name, path in inputs.videos.items()),
        *(Unit(key, None) for key in sorted(groups)),
    ]


def plan_of(unit: Unit, output: Output) -> Plan:
    """A unit's plan, made now if it never was.

    Raises:
        SourceFailed: The video cannot be read.
        Refused: It, or an image, is another file than the one that was labelled.
    """
    path = output.plan_file(unit.key)
    if path.exists():
        plan = Plan.parse(path)
        if not any(file.changed() for file in plan.files):
            return plan
        if any(output.finished(unit.key, shard) is not None for shard in plan.shards):
            changed = next(file.path for file in plan.files if file.changed())
            raise Refused(
                f"{changed} is not the file that was labelled: remove {path.parent} to label it "
                "anew, or name another --output"
            )
    assert unit.video is not None, f"{path} was written by `units_of`"
    plan = plan_video(unit.key, unit.video)
    output.plan(unit.key, plan)
    return plan


def group_plan(files: Sequence[SourceFile]) -> Plan:
    """Images as one shard."""
    return Plan(tuple(files), (Shard(0, len(files)),), is_video=False)


def _known(inputs: Inputs, output: Output) -> tuple[set[str], list[str]]:
    """Images in finished groups, and the keys of these groups; unfinished ones are forgotten."""
    known: set[str] = set()
    keys = []
    root = output.root / "statistics"
    for path in root.rglob(f"images-*/{PLAN}"):
        key = path.parent.relative_to(root).as_posix()
        plan = Plan.parse(path)
        if plan.is_video:  # called images-1.mp4
            continue
        if output.finished(key, plan.shards[0]) is None:
            shutil.rmtree(path.parent)
            continue
        names = {file.name for file in plan.files}
        if names & inputs.images.keys():
            keys.append(key)
            known |= names
    return known, keys


def _group(folder: str, names: list[str], inputs: Inputs, output: Output) -> str:
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
    key = f"{folder}/images-{digest}".lstrip("/")
    files = tuple(SourceFile.of(name, inputs.images[name]) for name in names)
    output.plan(key, group_plan(files))
    return key

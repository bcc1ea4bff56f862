"""Shards over workers, with Ray Data: one engine in each, names of shards in and reports out.

    units ─▶ plan ──▶ a block for each shard ─▶ Worker ─────────────────────────▶ reports
             (tasks)                            (actors: decode, run, label, write)

No pixel travels: a worker opens the video itself and writes the label maps itself. So Ray's object
store holds nothing but names, and memory does not grow with what there is to label.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.failures import Failure
from runtime.labelling.labeller import Labeller
from runtime.labelling.model import Model
from runtime.labelling.output import Output
from runtime.labelling.plan import Plan
from runtime.labelling.report import Report
from runtime.labelling.work import Unit, plan_of

BLOCKS = 1000  # of units, at most
WORKERS_A_PLANNER = 8  # unbounded, Ray starts a process of 120 MB for each video that it may plan
ATTEMPTS = 3  # at a shard, each of which killed its worker
Row = dict[str, Any]  # {"item": JSON}, as Ray Data's columns are to hold a union of types


@dataclass(frozen=True)
class Fleet:
    """`workers` engines of `threads` each, on the Ray that this process is connected to."""

    workers: int
    threads: int

    def label(self, units: Sequence[Unit], model: Model, output: Path) -> Iterator[Report]:
        """Reports of shards, in whatever order they end."""
        import ray
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = [{"item": json.dumps([unit.key, unit.video and str(unit.video)])} for unit in units]
        run = os.urandom(8).hex()
        reports = (
            ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
            .flat_map(
                Planner(output),
                compute=ray.data.TaskPoolStrategy(size=-(-self.workers // WORKERS_A_PLANNER)),
                num_cpus=0,
            )
            .repartition(target_num_rows_per_block=1)
            .map(
                Worker,
                fn_constructor_args=(model, output, self.threads, run),
                compute=ray.data.ActorPoolStrategy(size=self.workers),
                num_cpus=self.threads,
                num_gpus=int(model.on_gpu),
            )
        )
        try:
            for row in reports.iter_rows():
                yield Report(**json.loads(row["item"]))
        except ray.exceptions.RayError as error:
            raise _cause(error) from None


class Planner:
    """What a task of Ray's does: a unit's row becomes rows of its shards, and of what is known."""

    def __init__(self, output: Path) -> None:
        self._output = Output(output)

    def __call__(self, row: Row) -> Iterator[Row]:
        key, video = json.loads(row["item"])
        unit = Unit(key, video and Path(video))
        try:
            plan = plan_of(unit, self._output)
        except Failure as failure:
            yield {"item": json.dumps(asdict(Report(failures={key: str(failure)})))}
            return
        done = [self._output.finished(key, shard) for shard in plan.shards]
        if any(frames is not None for frames in done):
            resumed = Report(resumed=sum(frames or 0 for frames in done))
            yield {"item": json.dumps(asdict(resumed))}
        for number, frames in enumerate(done):
            if frames is None:
                yield {"item": json.dumps([key, number])}


class Worker:
    """What an actor of Ray's does: a shard's row becomes its report's."""

    def __init__(self, model: Model, output: Path, threads: int, run: str) -> None:
        self._output, self._run = Output(output), run
        self._labeller = Labeller(model, self._output, threads)

    def __call__(self, row: Row) -> Row:
        item = json.loads(row["item"])
        if isinstance(item, dict):  # a planner's report
            return row
        key, number = item
        plan = Plan.parse(self._output.plan_file(key))
        shard = plan.shards[number]
        with self._output.attempt(key, shard, self._run) as attempts:
            if attempts > ATTEMPTS:
                what = f"frames {shard.first} to {shard.first + shard.count - 1}"
                report = Report(
                    failures={
                        key: f"{what} killed {ATTEMPTS} workers: is the file damaged, or memory "
                        "short? see the kernel's log"
                    }
                )
            else:
                report = self._labeller.label(key, plan, shard)
        return {"item": json.dumps(asdict(report))}


def _cause(error: BaseException) -> BaseException:
    """The failure of ours that Ray carried here, else the error itself: a bug, with its traces."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Failure):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause or error

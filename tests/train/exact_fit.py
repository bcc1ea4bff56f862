"""`train/fit.py` for test_torchrun.py: all in double precision, and killed where a test wants it.

In FP32 two orders of summation part within a few steps: Adam divides a gradient that is zero but
for rounding (a bias in front of a batch norm) by its own size. In FP64 they stay together, so that
any difference left is a mistake.

Every step appends its loss to STEPS. KILL="rank epoch step", from 0, names who ends and when.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from train import fit, processes, trainer


def main() -> int:
    """Patch, then train."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    trainer.PRECISIONS["fp32"] = "64-true"
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    step = trainer.Trainer.step

    def watched(self: trainer.Trainer, batch: Sequence[Tensor]) -> float:
        place = (processes.rank(), self.epoch, self.schedule.last_epoch - self.epoch * self.steps)
        if os.environ.get("KILL") == " ".join(map(str, place)):
            os.kill(os.getpid(), signal.SIGKILL)
        loss = step(self, batch)
        if self.leads:
            with Path(os.environ["STEPS"]).open("a") as lines:
                lines.write(f"{place[1]} {place[2]} {loss!r}\n")
        return loss

    trainer.Trainer.step = watched  # type: ignore[method-assign]
    return fit.main()


if __name__ == "__main__":
    raise SystemExit(main())

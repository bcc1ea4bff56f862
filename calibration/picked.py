"""Some frames of many, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from calibration.looks import Frame


class Picked(Sequence[Frame]):
    """The frames `load(place)` for each of `places`; nothing is kept."""

    def __init__(self, load: Callable[[int], Frame], places: Sequence[int]) -> None:
        self._load, self._places = load, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Picked: ...
    def __getitem__(self, index: int | slice) -> Frame | Picked:
        if isinstance(index, slice):
            return Picked(self._load, self._places[index])
        return self._load(self._places[index])

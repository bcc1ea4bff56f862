"""How a model is quantized, in one word that commands, files and reports share.

A word is a method that takes ranges, and then what differs from the plain good practice, in this
order: `percentile`, `mse+equalise+bias`, `minmax+per-tensor+plain-rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass

from engines.failures import UsageError, hint

METHODS = ("minmax", "average", "percentile", "entropy", "mse")  # taken from frames
LEARNED = "qat"  # ranges that training learned; never taken from frames

# What a word may add, in the order of the word: (word, field, the value that the word stands for).
ADDITIONS = (
    ("per-tensor", "per_channel", False),
    ("plain-rounding", "keep_sums", False),
    ("equalise", "equalise", True),
    ("absorb", "absorb", True),
    ("bias", "correct_bias", True),
)


@dataclass(frozen=True)
class Scheme:
    """`str(scheme)` and `Scheme.parse` are each other's inverse."""

    method: str = "percentile"
    per_channel: bool = True  # weight scales
    keep_sums: bool = True  # calibration.repairs.rounding, of depthwise weights
    equalise: bool = False  # calibration.repairs.equalise
    absorb: bool = False  # calibration.repairs.absorb
    correct_bias: bool = False  # calibration.repairs.bias_correction

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, LEARNED):
            raise UsageError(
                f"there is no calibration method {self.method!r}: "
                + hint(self.method, METHODS, "the methods are")
            )

    def __str__(self) -> str:
        added = [word for word, name, value in ADDITIONS if getattr(self, name) is value]
        return "+".join((self.method, *added))

    @staticmethod
    def parse(text: str) -> Scheme:
        """Read `METHOD[+per-tensor][+plain-rounding][+equalise][+absorb][+bias]`, in any order.

        Anything else raises `UsageError`.
        """
        method, *words = text.split("+")
        known = {word: (name, value) for word, name, value in ADDITIONS}
        for word in words:
            if word not in known:
                raise UsageError(
                    f"scheme {text!r}: nothing is called {word!r}; " + hint(word, known)
                )
        return Scheme(method, **dict(known[word] for word in words))


NAIVE = Scheme.parse("minmax+per-tensor+plain-rounding")  # what most tools do if one just asks

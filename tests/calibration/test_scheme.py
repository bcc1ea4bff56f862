"""Schemes: the word and the dataclass say the same."""

from __future__ import annotations

import itertools

import pytest

from calibration.scheme import METHODS, NAIVE, Scheme
from engines.failures import UsageError

FLAGS = list(itertools.product([True, False], repeat=5))


@pytest.mark.parametrize("method", [*METHODS, "qat"])
def test_every_scheme_survives_its_own_word(method: str) -> None:
    schemes = [Scheme(method, *flags) for flags in FLAGS]
    words = [str(scheme) for scheme in schemes]
    assert [Scheme.parse(word) for word in words] == schemes
    assert len(set(words)) == len(words)


def test_a_word_is_the_method_and_what_differs_from_the_default() -> None:
    assert str(Scheme()) == "percentile"
    assert str(NAIVE) == "minmax+per-tensor+plain-rounding"
    assert Scheme("minmax", per_channel=False, keep_sums=False) == NAIVE
    assert Scheme.parse("mse+equalise+bias") == Scheme("mse", equalise=True, correct_bias=True)


def test_words_are_read_in_any_order_and_written_in_one() -> None:
    assert str(Scheme.parse("mse+bias+equalise")) == "mse+equalise+bias"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("percentle", "no calibration method 'percentle': did you mean percentile"),
        ("", "no calibration method ''.*the methods are: minmax, average"),
        ("mse+equalize", "'equalize'; did you mean equalise"),
        ("mse+", "nothing is called ''; known: per-tensor"),
        ("equalise", "no calibration method 'equalise'"),
    ],
)
def test_what_is_no_scheme_is_an_error_with_a_hint(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Scheme.parse(text)

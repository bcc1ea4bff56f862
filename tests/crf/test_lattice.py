"""The permutohedral lattice against a slow twin of another construction, and a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.permutohedral import Lattice
from engines.failures import UsageError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Vertex = tuple[int, ...]


def cloud(points: int, dimensions: int, spread: float) -> Floats:
    rng = np.random.default_rng(dimensions)
    return rng.normal(0, spread, (points, dimensions)).astype(np.float32)


def elevated(point: Doubles) -> Doubles:
    """`point` in the plane of d + 1 coordinates that sum to 0, along an orthogonal basis."""
    dimensions = len(point)
    result = np.zeros(dimensions + 1)
    for axis, value in enumerate(point, start=1):
        direction = np.concatenate([np.ones(axis), [-axis], np.zeros(dimensions - axis)])
        result += value * direction / np.linalg.norm(direction)
    return np.asarray(result * np.sqrt(2 / 3) * (dimensions + 1))


def nearest(position: Doubles, remainder: int) -> Vertex:
    """The closest vertex whose coordinates are all `remainder` modulo d + 1 and sum to 0."""
    steps = len(position)
    ideal = (position - remainder) / steps
    whole = np.rint(ideal)
    excess = int(whole.sum()) + remainder
    cheapest = np.argsort(np.sign(excess) * (ideal - whole))[: abs(excess)]
    whole[cheapest] -= np.sign(excess)
    return tuple((whole * steps + remainder).astype(int).tolist())


def simplex(point: Floats) -> dict[Vertex, float]:
    """The vertices around `point` and its barycentric coordinates, by solving for them."""
    position = elevated(point.astype(float))
    vertices = [nearest(position, remainder) for remainder in range(len(position))]
    system = np.vstack([np.array(vertices).T, np.ones(len(vertices))])
    weights = np.linalg.lstsq(system, np.append(position, 1))[0]
    return dict(zip(vertices, weights.tolist(), strict=True))


def slow_filter(features: Floats, values: Floats) -> Doubles:
    """Splat, blur and slice point by point, the vertices in a dictionary."""
    dimensions, nothing = features.shape[1], np.zeros(values.shape[1])
    simplices = [simplex(point) for point in features]
    lattice: dict[Vertex, Doubles] = {}
    for corners, value in zip(simplices, values, strict=True):
        for vertex, weight in corners.items():
            lattice[vertex] = lattice.get(vertex, nothing) + weight * value
    for axis in range(dimensions + 1):
        step = np.where(np.arange(dimensions + 1) == axis, dimensions, -1)
        blurred = {}
        for vertex, value in lattice.items():
            around = (tuple((vertex + sign * step).tolist()) for sign in (1, -1))
            blurred[vertex] = value + sum(lattice.get(v, nothing) for v in around) / 2
        lattice = blurred
    sliced = [sum(w * lattice[v] for v, w in corners.items()) for corners in simplices]
    return np.asarray(np.array(sliced) / (1 + 2.0**-dimensions))


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_equals_its_slow_twin(dimensions: int, spread: float) -> None:
    features = cloud(200, dimensions, spread)
    values = cloud(200, 3, 1.0)
    fast = Lattice(features).filter(values)
    np.testing.assert_allclose(fast, slow_filter(features, values), atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 5])
def test_close_to_a_gaussian(dimensions: int) -> None:
    """Means under the lattice's kernel and under exp(-|f_i - f_j|²/2): correlation above 0.98.

    Seen: 0.995 (d = 2), 0.985 (d = 5); vertices that no point touches are missing from the blur.
    """
    features, values = cloud(2000, dimensions, 1.0), cloud(2000, 1, 1.0)
    values = values + np.sin(2 * features[:, :1])
    distances = ((features[:, None] - features) ** 2).sum(axis=2)
    gaussian = np.exp(-distances / 2)
    lattice = Lattice(features)
    ours = lattice.filter(values) / lattice.filter(np.ones_like(values))
    theirs = gaussian @ values / gaussian.sum(axis=1, keepdims=True)
    assert np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1] > 0.98


def test_the_order_of_the_points_does_not_matter() -> None:
    features, values = cloud(500, 5, 1.0), cloud(500, 2, 1.0)
    order = np.random.default_rng(0).permutation(500)
    shuffled = Lattice(features[order]).filter(values[order])
    np.testing.assert_allclose(shuffled, Lattice(features).filter(values)[order], atol=1e-5)


def test_equal_points_get_equal_values_and_far_ones_none() -> None:
    features = np.array([[0, 0], [0, 0], [50, 50]], np.float32)
    first, second, far = Lattice(features).filter(np.array([[1], [0], [0]], np.float32))[:, 0]
    assert first == second > 0
    assert far == 0


def test_one_point_makes_one_simplex() -> None:
    assert Lattice(np.array([[0.3, 0.1, -2, 4, 0.7]], np.float32)).size == 6


def test_any_layout_of_values() -> None:
    features, values = cloud(50, 2, 1.0), cloud(50, 4, 1.0)
    lattice = Lattice(features)
    expected = lattice.filter(values)
    np.testing.assert_array_equal(lattice.filter(np.asfortranarray(values)), expected)
    np.testing.assert_array_equal(lattice.filter(np.repeat(values, 2, axis=1)[:, ::2]), expected)


@pytest.mark.parametrize(
    ("dimensions", "extent", "cause"),
    [(2, 1e6, "32768 lattice steps"), (5, 3e3, "63 bits"), (2, np.nan, "32768 lattice steps")],
)
def test_features_too_fine_for_a_lattice_are_refused(
    dimensions: int, extent: float, cause: str
) -> None:
    corners = np.array(np.meshgrid(*[(0, extent)] * dimensions), np.float32)
    with pytest.raises(UsageError, match=f"{cause}.*raise sigma_alpha"):
        Lattice(corners.reshape(dimensions, -1).T)

"""Front and hypervolume against their definitions and against answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.pareto import hypervolume, pareto_front

# Few distinct values, so that ties and duplicates are common.
GRID = st.integers(0, 6).map(float)


def costs(objectives: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, 12).flatmap(lambda n: arrays(float, (n, objectives), elements=GRID))


def test_front_by_hand() -> None:
    points = [[1, 5], [2, 2], [2, 3], [3, 3], [5, 1], [2, 2], [1, 6]]
    assert pareto_front(points).tolist() == [True, True, False, False, True, False, False]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_front_of_nothing_is_empty(objectives: int) -> None:
    assert pareto_front(np.zeros((0, objectives))).tolist() == []


@given(st.integers(1, 4).flatmap(costs))
def test_front_is_what_the_definition_says(points: np.ndarray) -> None:
    def kept(i: int) -> bool:
        dominated = any((p <= points[i]).all() and (p < points[i]).any() for p in points)
        return not dominated and not any((points[j] == points[i]).all() for j in range(i))

    assert pareto_front(points).tolist() == [kept(i) for i in range(len(points))]


def test_hypervolume_by_hand() -> None:
    assert hypervolume([[1, 3], [2, 1]], [4, 4]) == 3 * 1 + 2 * 2
    assert hypervolume([[1, 3], [2, 1], [3, 3], [1, 3]], [4, 4]) == 7
    assert hypervolume([[4, 0], [0, 4], [5, 5]], [4, 4]) == 0
    assert hypervolume([[1, 2, 3], [3, 3, 1]], [4, 4, 4]) == 3 * 2 * 1 + 1 * 1 * 3 - 1 * 1 * 1


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_nothing_dominates_nothing(objectives: int) -> None:
    assert hypervolume(np.zeros((0, objectives)), np.ones(objectives)) == 0


@given(st.integers(1, 4).flatmap(lambda m: st.tuples(costs(m), arrays(float, m, elements=GRID))))
def test_hypervolume_counts_the_dominated_unit_cubes(case: tuple[np.ndarray, np.ndarray]) -> None:
    points, reference = case
    cubes_cm = np.indices(reference.astype(int)).reshape(len(reference), -1).T
    covered_c = (points[None] <= cubes_cm[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(points, reference) == covered_c.sum()


@given(costs(3))
def test_only_the_front_counts(points: np.ndarray) -> None:
    assert hypervolume(points[pareto_front(points)], [5, 5, 5]) == hypervolume(points, [5, 5, 5])


def test_nan_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pareto_front([[0.0, float("nan")]])
    with pytest.raises(ValueError, match="NaN"):
        hypervolume([[0.0, float("nan")]], [1, 1])
    with pytest.raises(ValueError, match="reference must not hold NaN"):
        hypervolume([[0, 0]], [1, float("nan")])
    with pytest.raises(ValueError, match="as many references as objectives"):
        hypervolume([[0, 0, 0]], [1, 1])
    with pytest.raises(ValueError, match="matrix"):
        pareto_front([1.0, 2.0])

"""The content of report.json, which page.js, the tables and the pictures read: plain values with names.

A series is the repetitions of a run with other seeds. report.json lists the series under the key `groups`.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Spread(TypedDict):
    """A figure over the runs of a series.

    Attributes:
        mean: Over the runs.
        std: Standard deviation of a sample; None for a single run.
        low, high: Values of the lowest and the highest run.
    """

    mean: float
    std: float | None
    low: float
    high: float


class Errors(TypedDict):
    """Error and test metric of a sub-network of each run; None unless every run of the series has it."""

    error: Spread | None
    test: Spread | None


class BudgetErrors(Errors):
    """Error and test metric of the best sub-network within a budget, a share of the full model's cost."""

    share: float


class MeanCurve(TypedDict):
    """A curve over the runs of a series: lists of the same length."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


class Point(TypedDict):
    """A sub-network.

    Attributes:
        text: The sub-network in words.
        layers: [index, heads, units] of each layer.
        metrics: Its metrics by name, on validation rows.
        tried: Whether the run evaluated it; False for the supernet's full model, which is shown too.
        front: Whether it is on the front of its run.
        full: Whether it is the full model.
        test: Its metric on the test split; None if it is not known.
    """

    text: str
    layers: list[list[int]]
    metrics: dict[str, float]
    tried: bool
    front: bool
    full: bool
    test: float | None


class RunValues(TypedDict):
    """A run.

    Attributes:
        folder: Name of its folder.
        seed: Of the run.
        evaluations: Number of its trials, failed trials included.
        failed: How many trials failed.
        reference: The worst value that counts, by objective.
        hypervolume: At the end.
        full: Metrics of the full model, and "test"; None if they are not known.
        full_is_supernets: Whether the full model is the supernet's, because the run has none of its own.
        budgets: For each budget, metrics of the best sub-network within it, and "test"; None if there is none.
        points: Its sub-networks.
    """

    folder: str
    seed: int
    evaluations: int
    failed: int
    reference: dict[str, float]
    hypervolume: float
    full: dict[str, Any] | None
    full_is_supernets: bool
    budgets: list[dict[str, Any] | None]
    points: list[Point]


class Series(TypedDict):
    """The repetitions of a run.

    Attributes:
        name: What distinguishes it from the other series.
        kind: Mode of its runs: search, finetune or baseline.
        hypervolume: At the end of its runs.
        full: Of the full model.
        budgets: Of the best sub-network within each budget.
        curves: Hypervolume over "evaluations" and over "seconds"; empty for a baseline.
        runs: Its runs.
    """

    name: str
    kind: str
    hypervolume: Spread
    full: Errors
    budgets: list[BudgetErrors]
    curves: dict[str, MeanCurve]
    runs: list[RunValues]


class TrivialPredictor(TypedDict):
    """The trivial predictor as a row of the table of series. It costs nothing, so it is within every budget.

    Attributes:
        error: On validation rows.
        test: Its metric on the test split; None if it is not known.
    """

    name: str
    kind: str
    runs: list[RunValues]
    error: float
    test: float | None
    hypervolume: None
    full: Errors
    budgets: list[BudgetErrors]


class AxisValues(TypedDict):
    """How an objective is drawn: its values are divided by `scale`."""

    title: str
    scale: float


class Unit(TypedDict):
    """How the page shows a metric: its value is divided by `scale`."""

    label: str
    unit: str
    scale: float
    digits: int


class Report(TypedDict):
    """Comparable runs.

    Attributes:
        title: Of the page and the picture.
        task, metric, model: Of all runs.
        objectives: Names of the objectives.
        cost: The cost that budgets refer to.
        costs: The objectives that are costs.
        conditions: Conditions of the costs, in words; None if there are none.
        budgets: Shares of the full model's cost.
        majority: The trivial predictor.
        normalisation, spread: The meaning of a hypervolume and of a band, in words.
        notes: Notes for a reader of the figures, a sentence each.
        axes: By objective.
        shown: By metric.
        groups: The series.
    """

    title: str
    task: str
    metric: str
    model: str
    objectives: list[str]
    cost: str
    costs: list[str]
    conditions: str | None
    budgets: list[float]
    majority: TrivialPredictor
    normalisation: str
    spread: str
    notes: list[str]
    axes: dict[str, AxisValues]
    shown: dict[str, Unit]
    groups: list[Series]

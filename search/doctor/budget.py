"""Whether a budget can be reached in a search space at all, and where else it can."""

from __future__ import annotations

from collections.abc import Iterator

from search.doctor.findings import OK, PROBLEM, UNKNOWN, WARNING, Finding
from search.doctor.plan import Plan
from search.objectives import OBJECTIVES
from search.options.limits import parse_limit
from supernet.console.choices import groups_of, values_in
from supernet.runtime.errors import UserError
from supernet.space.base import SearchSpace
from supernet.space.cost import Architecture
from supernet.space.spaces import SpaceOptions, search_space


def budget_findings(plan: Plan) -> Iterator[Finding]:
    """Whether each limit can be reached in the space. Every cost is least in the smallest sub-network."""
    smallest, _, largest = plan.sizes
    for name, text in plan.options.budgets.items():
        low, high = smallest.costs.get(name), largest.costs.get(name)
        if low is None or high is None:
            yield Finding(UNKNOWN, f"max_{name}={text} is not known without a measurement", "leave out measure=false")
            continue
        limit, is_share = parse_limit(name, text)
        limit = limit * high if is_share else limit
        shown = {key: _show(name, value, high) for key, value in {"low": low, "limit": limit}.items()}
        if low > limit:
            wrong = f"max_{name}={text} cannot be reached: the smallest sub-network has {shown['low']}"
            yield Finding(PROBLEM, wrong, _other_space(plan, name, limit))
        elif high <= limit:
            text = f"max_{name}={text} is reached by the full model itself, {_show(name, high, high)}"
            yield Finding(WARNING, text, "give a smaller limit, or leave the model as it is")
        else:
            yield Finding(OK, f"max_{name}={text} can be reached, down to {shown['low']}; it is {shown['limit']}")
    if plan.options.max_error_increase is not None:
        yield Finding(UNKNOWN, "max_error_increase is known after a search only")


def _show(name: str, value: float, whole: float) -> str:
    return f"{OBJECTIVES[name].show(value)} ({value / whole:.1%} of the full model's)"


def _other_space(plan: Plan, name: str, limit: float) -> str:
    """Advice if a limit is out of reach in the plan's space."""
    a, formula = plan.architecture, OBJECTIVES[name].formula
    again = f"allow more with max_{name}"
    if formula is None:
        return f"{again}, take a smaller model, or another workload"
    smallest = {space: formula(a, s.smallest, plan.options.workload) for space, s in _spaces(a).items()}
    reaching = [space for space, cost in smallest.items() if cost <= limit]
    if reaching:
        return f"take another space: {', '.join(f'space={space}' for space in reaching)}; or {again}"
    return f"{again}, or take a smaller model: no space reaches it with this one"


def _spaces(a: Architecture) -> dict[str, SearchSpace]:
    """The spaces of conf/space, as far as they fit the model."""
    found = {}
    for name in groups_of("train")["space"]:
        options = SpaceOptions(**values_in(f"space/{name}.yaml"))
        try:
            found[name] = search_space(
                options, layers=a.layers, heads=a.heads, units=a.units, layer_importance=[0.0] * a.layers
            )
        except UserError:  # the model is smaller than the least of this space
            continue
    return found

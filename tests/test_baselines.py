"""What the baselines keep, against slow, obvious references; budgets, rows and models of all of them."""

from itertools import product

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice

from search.baselines.base import training_rows
from search.baselines.kwon import eliminate, most_params, prune_by_fisher, rank, rearrange, search_masks
from search.baselines.mask_gradients import head_scores, mask_gradients
from search.baselines.table import BASELINES
from search.baselines.widths import DROP_ORDERS
from search.options.search import DROPS, BaselineOptions
from search.ranking import SHARES, rank_by_pruning
from supernet.data.batches import collate
from supernet.models.families import architecture_of, family_of
from supernet.models.losses import cross_entropy
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.space.cost import encoder_params, params_share
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.models import FAMILY_NAMES, VARIANTS, double_stays_double, families, split_of, tiny_model  # noqa: F401

pytestmark = pytest.mark.usefixtures("double_stays_double")
methods = pytest.mark.parametrize("method", sorted(BASELINES))
BUDGETS = (1.0, 0.9, 0.75, 0.5, 0.25, 0.05)


def prune(model, method, budgets=BUDGETS, split=None, **values):
    return list(BASELINES[method].prune(model, split or split_of(), budgets, pad_token_id=1, **values))


def gradients_one_by_one(model, split):
    """Derivatives of each row's loss by explicit factors of heads and units: (n, L, N) and (n, L, F)."""
    family, a = family_of(model.config), architecture_of(model.config)
    found = [], []
    for i in range(len(split)):
        batch = collate(split, np.array([i]), 1)
        masks = [torch.ones(a.layers, n, dtype=torch.float64, requires_grad=True) for n in (a.heads, a.units)]
        handles = []
        for j, layer in enumerate(family.layers_of(model)):
            for block, mask, width in (
                (family.attention, masks[0], a.head_size),
                (family.feed_forward, masks[1], 1),
            ):
                handles.append(
                    layer.get_submodule(block.columns[0]).register_forward_pre_hook(
                        lambda module, args, m=mask, j=j, width=width: (args[0] * m[j].repeat_interleave(width),)
                    )
                )
        cross_entropy(model(**batch.inputs).logits, batch.labels).backward()
        for handle in handles:
            handle.remove()
        for rows, mask in zip(found, masks, strict=True):
            rows.append(mask.grad.numpy())
    return tuple(np.stack(rows) for rows in found)


@pytest.mark.parametrize("family", [*FAMILY_NAMES, *sorted(VARIANTS)])
def test_gradients_are_those_of_explicit_masks(family):
    model, split = tiny_model(family), split_of()
    batches = training_rows(model, split, 1, 6, seed=0)
    found = mask_gradients(model, batches)
    taken = np.random.default_rng(0).permutation(6)[np.concatenate([batch.rows for batch in batches])]
    for of_kind, expected in zip((found.heads, found.units), gradients_one_by_one(model, split), strict=True):
        np.testing.assert_allclose(of_kind.transpose(1, 0, 2), expected[taken], rtol=1e-7, atol=1e-9)


@families
def test_gradients_at_a_sub_network_are_those_of_its_own_model(family):
    model, split = tiny_model(family), split_of()
    a, batches = architecture_of(model.config), training_rows(tiny_model(family), split, 1, 6, seed=0)
    subnet = SubNetwork.uniform(range(0, a.layers, 2), a.heads, a.units // 2)
    kept = [s.index for s in subnet.layers]
    found, own = mask_gradients(model, batches, subnet), mask_gradients(extract(model, subnet), batches)
    np.testing.assert_allclose(found.heads[kept], own.heads, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.units[kept][:, :, : a.units // 2], own.units, rtol=1e-9, atol=1e-12)
    assert not found.units[:, :, a.units // 2 :].any()
    assert not np.delete(found.heads, kept, axis=0).any()


@families
def test_gradients_at_a_sub_network_without_some_blocks(family):
    model, split = tiny_model(family), split_of()
    a = architecture_of(model.config)
    slices = [LayerSlice(0, (), (1, 2)), LayerSlice(a.layers - 1, (1,), ())]
    found = mask_gradients(model, training_rows(model, split, 1, 6, seed=0), SubNetwork(slices))
    assert {(int(i), int(n)) for i, _, n in np.argwhere(found.units)} <= {(0, 1), (0, 2)}
    assert {(int(i), int(n)) for i, _, n in np.argwhere(found.heads)} <= {(a.layers - 1, 1)}
    assert found.units.any()
    assert found.heads.any()


def test_elimination_loses_the_least_in_each_step():
    gradients = np.random.default_rng(0).normal(size=(6, 8))
    fisher = gradients.T @ gradients
    order, gone = eliminate(fisher).tolist(), []
    assert sorted(order) == list(range(8))
    for leaving in reversed(order):
        losses = {j: np.square(gradients[:, [*gone, j]].sum(axis=1)).sum() for j in range(8) if j not in gone}
        assert losses[leaving] == pytest.approx(min(losses.values()), abs=1e-9)
        gone.append(leaving)


@pytest.mark.parametrize("multiple_of", [1, 2])
def test_ranking_goes_down_in_nested_steps(multiple_of):
    model, split = tiny_model("bert"), split_of()
    a, batches = architecture_of(model.config), training_rows(tiny_model("bert"), split, 1, 6, seed=0)
    ranking = rank_by_pruning(model, batches, multiple_of)
    assert [sorted(order) for order in ranking.units] == [list(range(a.units))] * a.layers
    assert [sorted(order) for order in ranking.heads] == [list(range(a.heads))] * a.layers
    steps = ranking.subnets(a.sizes)
    assert len(steps) > 3
    for larger, smaller in zip([a.full, *steps], steps, strict=False):
        assert larger.contains(smaller)
    for share, step in zip(SHARES, steps, strict=False):
        assert params_share(a, step) <= share
    assert rank_by_pruning(model, batches, multiple_of) == ranking


def test_a_row_of_multiple_choice_has_one_gradient():
    model, split = tiny_model("bert", auto=AutoModelForMultipleChoice), split_of(5, choices=3)
    found = mask_gradients(model, [collate(split, np.arange(5), 1)])
    for of_kind, expected in zip((found.heads, found.units), gradients_one_by_one(model, split), strict=True):
        np.testing.assert_allclose(of_kind.transpose(1, 0, 2), expected, rtol=1e-7, atol=1e-9)


@families
def test_heads_go_one_by_one_from_the_least_important(family):
    model, split = tiny_model(family), split_of()
    a = architecture_of(model.config)
    scores = np.abs(gradients_one_by_one(model, split)[0]).mean(axis=0)
    scores = np.array([row / np.sqrt((row**2).sum()) for row in scores])
    np.testing.assert_allclose(head_scores(mask_gradients(model, [collate(split, np.arange(6), 1)])), scores, rtol=1e-6)
    pruned = {p.budget: p.subnet for p in prune(model, "head_pruning")}
    kept = {(i, n) for i, n in np.ndindex(scores.shape)}
    for budget in BUDGETS:
        while True:
            subnet = SubNetwork(
                tuple(
                    LayerSlice(i, tuple(n for n in range(a.heads) if (i, n) in kept), range(a.units))
                    for i in range(a.layers)
                )
            )
            if params_share(a, subnet) <= budget or not kept:
                break
            kept.remove(min(kept, key=lambda place: scores[place]))
        if params_share(a, subnet) <= budget:
            assert pruned[budget] == subnet
        else:
            assert budget not in pruned
    assert 0.05 not in pruned
    assert len(pruned) >= 3


def random_rankings(rng, fixed=0):
    """Rankings of 2 layers of 3 heads of 7 parameters and 4 units of 2, and their Fisher information."""
    fisher = rng.random((2, 3)), rng.random((2, 4))
    return fisher, rank(fisher[0], 7, [fixed] * 2), rank(fisher[1], 2, [fixed] * 2)


@pytest.mark.parametrize("seed", range(5))
def test_mask_search_finds_the_best_of_all_masks(seed):
    (heads, units), *rankings = random_rankings(np.random.default_rng(seed))
    masks = np.array(list(product((0, 1), repeat=14)))
    params, worth = masks @ np.repeat([7, 2], [6, 8]), masks @ np.append(heads, units)
    for limit in range(0, params.max() + 1, 3):
        n, k = search_masks(*rankings, limit)
        assert 7 * n + 2 * k <= limit
        kept = np.sort(heads.ravel())[::-1][:n].sum() + np.sort(units.ravel())[::-1][:k].sum()
        assert kept == pytest.approx(worth[params <= limit].max())


@pytest.mark.parametrize("seed", range(5))
def test_mask_search_counts_what_a_block_costs_whatever_its_width(seed):
    (heads, units), *rankings = random_rankings(np.random.default_rng(seed), fixed=5)

    def best(fisher, count):
        return sorted(np.ndindex(fisher.shape), key=lambda place: -fisher[place])[:count]

    def params(kept, each):
        return len(kept) * each + 5 * len({layer for layer, _ in kept})

    for limit in range(0, 80, 4):
        options = []
        for n, k in np.ndindex(7, 9):
            first, second = best(heads, n), best(units, k)
            if params(first, 7) + params(second, 2) <= limit:
                options.append((sum(heads[p] for p in first) + sum(units[p] for p in second), n, k))
        n, k = search_masks(*rankings, limit)
        assert (n, k) in {option[1:] for option in options}
        assert rankings[0].worth[n] + rankings[1].worth[k] == pytest.approx(max(options)[0])
        np.testing.assert_array_equal(
            rankings[0].counts(n, 2), [sum(p[0] == i for p in best(heads, n)) for i in range(2)]
        )


def lost(fisher, pruned):
    return fisher[np.ix_(pruned, pruned)].sum()


def rearrange_by_definition(fisher, keep):
    """Leaves out each of those kept in turn, and puts back that one of all left out by which the least is lost."""
    order = sorted(range(len(fisher)), key=lambda i: fisher[i, i])
    pruned = order[: len(order) - keep]
    for i in order[len(order) - keep :]:
        pruned = [*pruned, i]
        pruned = min(([j for j in pruned if j != back] for back in pruned), key=lambda rest: lost(fisher, rest))
    return sorted(set(order) - set(pruned))


@pytest.mark.parametrize("seed", range(5))
def test_rearrangement_is_the_greedy_one(seed):
    gradients = np.random.default_rng(seed).normal(0.5, 1, (20, 9))
    fisher = gradients.T @ gradients
    better = 0
    for keep in range(10):
        kept = rearrange(fisher, keep).tolist()
        assert kept == rearrange_by_definition(fisher, keep)
        by_diagonal = np.argsort(fisher.diagonal())[: 9 - keep]
        pruned = sorted(set(range(9)) - set(kept))
        assert lost(fisher, pruned) <= lost(fisher, by_diagonal) + 1e-9
        better += lost(fisher, pruned) < lost(fisher, by_diagonal) - 1e-9
    assert better


@families
def test_kwon_keeps_what_the_steps_say(family):
    """The three tested steps, put together by hand."""
    model, split = tiny_model(family), split_of()
    a = architecture_of(model.config)
    gradients = gradients_one_by_one(model, split)
    fixed = (a.head_params, a.attention_params), (a.unit_params, a.feed_forward_params)
    rankings = [rank((g**2).sum(axis=0), *costs) for g, costs in zip(gradients, fixed, strict=True)]
    choose = prune_by_fisher(model, [collate(split, np.arange(6), 1)], BaselineOptions())
    for budget in BUDGETS:
        counts = search_masks(*rankings, int(np.floor(budget * encoder_params(a, a.full) + 1e-6)))
        kept = [
            [rearrange_by_definition(g[:, i].T @ g[:, i], r.counts(n, a.layers)[i]) for i in range(a.layers)]
            for g, r, n in zip(gradients, rankings, counts, strict=True)
        ]
        assert choose(budget) == SubNetwork(
            tuple(LayerSlice(i, h, u) for i, (h, u) in enumerate(zip(*kept, strict=True)))
        )


@pytest.mark.parametrize(
    ("drop", "dropped"),
    [("top", {8, 9, 10, 11}), ("bottom", {0, 1, 2, 3}), ("alternate", {5, 7, 9, 11}), ("symmetric", {4, 5, 6, 7})],
)
def test_layers_are_dropped_as_in_the_paper(drop, dropped):
    order = DROP_ORDERS[drop](12)
    assert set(order[:4]) == dropped
    assert sorted(order) == list(range(12))


@pytest.mark.parametrize("drop", sorted(DROP_ORDERS))
def test_as_few_layers_go_as_the_budget_asks_for(drop):
    pruned = prune(
        tiny_model("bert"), "layer_dropping", (1.0, 0.9, 0.75, 0.5, 0.49, 0.1), options=BaselineOptions(drop=drop)
    )
    assert [len(p.subnet.layers) for p in pruned] == [4, 3, 3, 2, 1, 0]
    for p in pruned:
        gone = set(DROP_ORDERS[drop](4)[: 4 - len(p.subnet.layers)])
        assert p.subnet == SubNetwork.uniform([i for i in range(4) if i not in gone], 4, 10)


def test_the_same_widths_are_the_most_even_that_use_the_budget():
    model = tiny_model("bert", intermediate_size=23)
    a = architecture_of(model.config)
    for pruned in prune(model, "uniform_width", np.linspace(0.02, 1, 30)):
        fits = {
            (h, u)
            for h, u in np.ndindex(a.heads + 1, a.units + 1)
            if params_share(a, SubNetwork.uniform(range(4), h, u)) <= pruned.budget
        }
        widest = [(h, u) for h, u in fits if (h, u + 1) not in fits]
        h, u = min(sorted(widest), key=lambda w: abs(w[0] / a.heads - w[1] / a.units))
        assert pruned.subnet == SubNetwork.uniform(range(4), h, u)


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILY_NAMES, *sorted(VARIANTS)])
@methods
def test_every_family_is_pruned_within_the_budget(family, method):
    model = tiny_model(family)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    a, split = architecture_of(model.config), split_of()
    batch = collate(split, np.arange(6), 1)
    budgets = (1.0, 0.7, 0.3)
    pruned = prune(model, method, budgets)
    assert [p.budget for p in pruned] == list(budgets[: len(pruned)])
    assert len(pruned) == len(budgets) or method == "head_pruning"
    for p in pruned:
        assert params_share(a, p.subnet) <= p.budget
        expected = extract(model, p.subnet)
        assert {n: w.shape for n, w in p.model.named_parameters()} == {
            n: w.shape for n, w in expected.named_parameters()
        }
        assert not p.model.training
        logits = p.model(**batch.inputs).logits
        assert logits.isfinite().all()
        if BASELINES[method].tune is None:
            assert torch.equal(logits, expected(**batch.inputs).logits)
    torch.testing.assert_close(pruned[0].model(**batch.inputs).logits, model(**batch.inputs).logits)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("method", ["head_pruning", "kwon2022"])
def test_regression_and_multiple_choice(method):
    regression = prune(tiny_model("bert", num_labels=1), method, (0.7,), split=split_of(regression=True))
    choice = tiny_model("bert", auto=AutoModelForMultipleChoice)
    for p in (*regression, *prune(choice, method, (0.7,), split=split_of(5, choices=3))):
        assert params_share(architecture_of(choice.config), p.subnet) <= 0.7
    assert regression[0].model(input_ids=torch.full((2, 5), 7)).logits.shape == (2, 1)


def test_so_many_different_rows_are_read():
    model, split = tiny_model("bert"), split_of(20)
    rows_of = {
        (count, seed): sorted(
            tuple(ids[mask.bool()].tolist())
            for batch in training_rows(model, split, 1, count, seed)
            for ids, mask in zip(
                batch.inputs["input_ids"],
                batch.inputs.get("attention_mask", torch.ones_like(batch.inputs["input_ids"])),
                strict=True,
            )
        )
        for count in (8, 99)
        for seed in (0, 1)
    }
    everything = [tuple(split.ids[split.offsets[i] : split.offsets[i + 1]].tolist()) for i in range(20)]
    assert rows_of[99, 0] == rows_of[99, 1] == sorted(everything)
    assert len(rows_of[8, 0]) == len(set(rows_of[8, 0])) == 8
    assert set(rows_of[8, 0]) < set(everything)
    assert rows_of[8, 0] != rows_of[8, 1]


@methods
def test_the_same_seed_gives_the_same_models(method):
    options = BaselineOptions(rows=4)
    first, again = (prune(tiny_model("bert"), method, (0.7,), seed=3, options=options)[0] for _ in range(2))
    assert first.subnet == again.subnet
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))


def test_the_most_parameters_have_a_share_within_the_budget():
    a = architecture_of(tiny_model("bert").config)
    full = encoder_params(a, a.full)
    for params in range(1, full + 1):
        assert most_params(a, params / full) == params


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.1, float("nan")])
def test_a_budget_is_a_share(budget):
    with pytest.raises(UserError, match=r"budget .* is no share of the encoder"):
        BASELINES["kwon2022"].prune(tiny_model("bert"), split_of(), [0.5, budget], pad_token_id=1)


@pytest.mark.parametrize(("values", "message"), [({"rows": 0}, "baseline.rows is 0"), ({"drop": "topp"}, "mean top")])
def test_options_are_checked(values, message):
    with pytest.raises(UserError, match=message):
        BaselineOptions(**values)
    assert tuple(DROP_ORDERS) == DROPS

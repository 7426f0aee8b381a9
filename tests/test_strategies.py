"""What a step trains, and that its gradient is the sum of the gradients of its parts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supernet.distillation import label_loss, soft_loss
from supernet.errors import UserError
from supernet.families import FAMILIES, architecture_of
from supernet.slicing import extract, view
from supernet.space import search_space
from supernet.strategies import RULES, Strategy, accumulate_gradients
from tests.models import tiny_model


def setting(num_labels=3, family="bert"):
    model = tiny_model(family, num_labels=num_labels)
    a = architecture_of(model.config)
    space = search_space("small", layers=a.layers, heads=a.heads, units=a.units)
    torch.manual_seed(1)
    inputs = {"input_ids": torch.randint(5, 50, (6, 8)), "attention_mask": torch.ones(6, 8, dtype=torch.long)}
    inputs["input_ids"][4:, 6:], inputs["attention_mask"][4:, 6:] = model.config.pad_token_id, 0
    labels = torch.randint(0, 3, (6,)) if num_labels > 1 else torch.randn(6, dtype=torch.float64)
    return model, space, inputs, labels


def run(model, inputs, labels, subnets, strategy):
    model.zero_grad()
    losses = accumulate_gradients(
        model,
        inputs,
        labels,
        subnets,
        temperature=strategy.temperature if strategy.distils else None,
        rows=len(labels),
    )
    return [float(loss) for loss in losses], {n: p.grad.clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("num_labels", [3, 1])
@pytest.mark.parametrize("name", sorted(RULES))
def test_gradient_is_the_sum_of_separate_gradients(name, num_labels, family):
    model, space, inputs, labels = setting(num_labels, family)
    strategy = Strategy(name, k=2, temperature=3.0)
    subnets = strategy.draw(space, np.random.default_rng(0))
    losses, found = run(model, inputs, labels, subnets, strategy)

    teacher = model(**inputs).logits.detach()
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for i, subnet in enumerate(subnets):
        logits = view(model, subnet)(**inputs).logits
        loss = F.mse_loss(logits[:, 0], labels) if num_labels == 1 else F.cross_entropy(logits, labels)
        if strategy.distils and i > 0:
            if num_labels == 1:
                loss = loss + F.mse_loss(logits, teacher)
            else:
                loss = loss + 9 * F.cross_entropy(logits / 3, F.softmax(teacher / 3, dim=1))
        assert losses[i] == pytest.approx(loss.item(), rel=1e-12)
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        for (n, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            expected[n] += 0 if gradient is None else gradient
    for n in expected:
        torch.testing.assert_close(found[n], expected[n], rtol=0, atol=1e-12, msg=n)


def test_parts_of_a_batch_add_up_to_the_whole():
    model, space, inputs, labels = setting()
    strategy = Strategy("full", k=1)
    subnets = strategy.draw(space, np.random.default_rng(0))
    losses, whole = run(model, inputs, labels, subnets, strategy)
    model.zero_grad()
    sums = np.zeros(len(subnets))
    for part in (slice(0, 2), slice(2, 6)):
        sums += [
            float(loss)
            for loss in accumulate_gradients(
                model,
                {name: tensor[part] for name, tensor in inputs.items()},
                labels[part],
                subnets,
                temperature=strategy.temperature,
                rows=len(labels),
            )
        ]
    np.testing.assert_allclose(sums, losses, rtol=1e-12)
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.grad, whole[n], rtol=0, atol=1e-12, msg=n)


def test_what_each_strategy_trains():
    space = search_space("small", layers=4, heads=4, units=10)
    rng = np.random.default_rng(0)
    assert Strategy("standard").draw(space, rng) == [space.largest]
    for name in ("sandwich", "full"):
        subnets = Strategy(name, k=3).draw(space, rng)
        assert subnets[:2] == [space.largest, space.smallest]
        assert len(subnets) == 5
    assert Strategy("full", k=0).draw(space, rng) == [space.largest, space.smallest]
    assert [Strategy(n).distils for n in ("standard", "sandwich", "full")] == [False, False, True]


def test_no_gradient_reaches_the_teacher_and_none_is_left_behind():
    model, space, inputs, _ = setting()
    teacher = model(**inputs).logits
    small = extract(model, space.middle)
    soft_loss(small(**inputs).logits, teacher, temperature=2.0).backward()
    assert all(p.grad is None for p in model.parameters())


def test_losses_are_sums_in_at_least_single_precision():
    logits, labels = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([0, 1])
    expected = 2 * float(F.cross_entropy(logits, labels))
    assert float(label_loss(logits, labels)) == pytest.approx(expected)
    assert label_loss(logits.bfloat16(), labels).dtype == torch.float32
    assert label_loss(logits.double(), labels).dtype == torch.float64
    values = torch.tensor([1.0, 3.0])
    assert float(label_loss(torch.tensor([[0.0], [1.0]]), values)) == pytest.approx(5.0)
    # A student equal to its teacher has a gradient of zero, at any temperature.
    student = logits.clone().requires_grad_()
    soft_loss(student, logits, temperature=10.0).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(logits), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "ful"}, "strategy 'ful' is unknown"),
        ({"name": "full", "k": -1}, "strategy.k is -1"),
        ({"name": "full", "temperature": 0.0}, "strategy.temperature is 0.0"),
        ({"name": "full", "temperature": float("nan")}, "strategy.temperature is nan"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        Strategy(**values)

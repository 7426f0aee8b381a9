"""What a step trains, and that its gradient is the sum of the gradients of its parts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from supernet.models.families import architecture_of, family_of
from supernet.models.losses import cross_entropy, kl_divergence, squared_error
from supernet.models.slicing import extract, view
from supernet.options.training import Distillation
from supernet.runtime.errors import UserError
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.strategies import RULES, Pass, Strategy
from supernet.space.subnetwork import SubNetwork
from supernet.training.gradients import accumulate_gradients
from tests.models import FAMILY_NAMES, tiny_model


def setting(num_labels=3, family="bert"):
    model = tiny_model(family, num_labels=num_labels)
    a = architecture_of(model.config)
    space = search_space(SpaceOptions("small"), layers=a.layers, heads=a.heads, units=a.units)
    torch.manual_seed(1)
    inputs = {"input_ids": torch.randint(5, 50, (6, 8)), "attention_mask": torch.ones(6, 8, dtype=torch.long)}
    inputs["input_ids"][4:, 6:], inputs["attention_mask"][4:, 6:] = model.config.pad_token_id, 0
    labels = torch.randint(0, 3, (6,)) if num_labels > 1 else torch.randn(6, dtype=torch.float64)
    return model, space, inputs, labels


def drawn(space):
    rng = np.random.default_rng(0)
    return lambda: space.sample(rng)


def run(model, inputs, labels, passes, **options):
    model.zero_grad()
    distillation = Distillation(**{"temperature": 3.0} | options)
    losses = accumulate_gradients(model, inputs, labels, passes, distillation=distillation, rows=len(labels))
    return [float(loss) for loss in losses], {n: p.grad.clone() for n, p in model.named_parameters()}


def with_states(net, inputs):
    """The output, and what came out of the last layer of each depth, read off by replacing its method."""
    layers, states = family_of(net.config).layers_of(net), []

    def watched(forward):
        def call(*args, **kwargs):
            states.append(forward(*args, **kwargs))
            return states[-1]

        return call

    for layer in layers:
        layer.forward = watched(layer.forward)
    output = net(**inputs)
    for layer in layers:
        del layer.forward
    return output, [state[0] if isinstance(state, tuple) else state for state in states]


def separate_losses(
    model, inputs, labels, passes, *, temperature=3.0, divergence="forward", weight=1.0, hidden=0.0, hidden_map="top"
):
    """Each pass's loss, written plainly: means over the batch, the teacher being the full net."""
    teacher, theirs_L = with_states(model, inputs)
    mask = inputs["attention_mask"][..., None]
    for p in passes:
        output, ours_L = with_states(view(model, p.subnet), inputs)
        logits = output.logits
        loss = F.mse_loss(logits[:, 0], labels) if logits.shape[1] == 1 else F.cross_entropy(logits, labels)
        if p.distils:
            target = teacher.logits.detach()
            if logits.shape[1] == 1:
                soft = F.mse_loss(logits, target)
            else:
                ours, theirs = (F.softmax(x / temperature, dim=1) for x in (logits, target))
                if divergence == "forward":
                    soft = (theirs * (theirs / ours).log()).sum(1).mean() * temperature**2
                else:
                    soft = (ours * (ours / theirs).log()).sum(1).mean() * temperature**2
            loss = loss + weight * soft
            depth = len(p.subnet.layers)
            for i in range(depth if hidden else 0):
                theirs = theirs_L[p.subnet.layers[i].index if hidden_map == "same" else i - depth]
                distance = (ours_L[i - depth] - theirs.detach()).square() * mask
                per_row = distance.sum((1, 2)) / (mask.sum((1, 2)) * distance.shape[2])
                loss = loss + hidden * per_row.mean() / depth
        yield loss


def assert_sum_of_separate_gradients(model, inputs, labels, passes, **options):
    hidden = {"hidden": options.pop("hidden_weight")} if "hidden_weight" in options else {}
    losses, found = run(model, inputs, labels, passes, **options, **{f"{key}_weight": v for key, v in hidden.items()})
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for i, loss in enumerate(separate_losses(model, inputs, labels, passes, **options, **hidden)):
        assert losses[i] == pytest.approx(loss.item(), rel=1e-12)
        gradients = torch.autograd.grad(passes[i].weight * loss, list(model.parameters()), allow_unused=True)
        for (n, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            expected[n] += 0 if gradient is None else gradient
    for n in expected:
        torch.testing.assert_close(found[n], expected[n], rtol=0, atol=1e-11, msg=n)


@pytest.mark.parametrize(
    ("name", "num_labels", "family"),
    [(name, num_labels, "bert") for name in sorted(RULES) for num_labels in (3, 1)]
    + [("full", 3, family) for family in FAMILY_NAMES if family != "bert"],
)
def test_gradient_is_the_sum_of_separate_gradients(name, num_labels, family):
    model, space, inputs, labels = setting(num_labels, family)
    strategy = Strategy(name, k=2, subnet_weight=0.5)
    for ramp in (False, True):
        passes = strategy.passes(space, drawn(space), ramp=ramp)
        assert_sum_of_separate_gradients(model, inputs, labels, passes)


@pytest.mark.parametrize("num_labels", [3, 1])
@pytest.mark.parametrize(
    "options",
    [
        {"divergence": "reverse"},
        {"weight": 0.3, "temperature": 1.0},
        {"hidden_weight": 2.0},
        {"hidden_weight": 0.5, "hidden_map": "same"},
        {"weight": 0.0},
    ],
)
@pytest.mark.parametrize("name", ["full", "kd"])
def test_gradient_of_every_kind_of_distillation(name, options, num_labels):
    model, space, inputs, labels = setting(num_labels)
    passes = Strategy(name, k=2).passes(space, drawn(space), ramp=True)
    assert_sum_of_separate_gradients(model, inputs, labels, passes, **options)


@pytest.mark.parametrize(
    ("layers", "hidden_map", "family"),
    [(layers, hidden_map, "bert") for layers in ([1, 3], [0, 1], [1, 2]) for hidden_map in ("top", "same")]
    + [([1, 3], "same", family) for family in FAMILY_NAMES if family != "bert"],
)
def test_gradient_of_hidden_states_where_layers_are_dropped(layers, hidden_map, family):
    model, space, inputs, labels = setting(family=family)
    dropped = Pass("random", SubNetwork.uniform(layers, 2, 5), distils=True)
    passes = [Pass("largest", space.largest), dropped]
    assert_sum_of_separate_gradients(model, inputs, labels, passes, hidden_weight=1.0, hidden_map=hidden_map)


def test_a_fixed_teacher_takes_the_full_nets_place():
    model, space, inputs, labels = setting()
    teacher = tiny_model("bert", num_hidden_layers=2)
    with torch.no_grad():
        teacher.classifier.weight.mul_(-1)
        target = teacher(**inputs).logits
    passes = Strategy("full", k=1).passes(space, drawn(space))
    arguments = {"distillation": Distillation(temperature=2.0), "rows": len(labels), "teacher": teacher}
    losses = accumulate_gradients(model, inputs, labels, passes, **arguments)
    assert all(p.grad is None for p in teacher.parameters())
    logits = view(model, passes[2].subnet)(**inputs).logits
    theirs, ours = (F.softmax(x / 2, dim=1) for x in (target, logits))
    expected = F.cross_entropy(logits, labels) + 4 * (theirs * (theirs / ours).log()).sum(1).mean()
    assert float(losses[2]) == pytest.approx(expected.item(), rel=1e-12)
    assert float(losses[0]) == pytest.approx(F.cross_entropy(model(**inputs).logits, labels).item(), rel=1e-12)


def test_a_fixed_teachers_logits_stand_for_it_but_not_for_its_hidden_states():
    model, space, inputs, labels = setting()
    teacher = tiny_model("bert", num_hidden_layers=2)
    with torch.no_grad():
        logits = 2 * teacher(**inputs).logits
        teacher.classifier.weight.mul_(2), teacher.classifier.bias.mul_(2)
    passes = Strategy("full", k=1).passes(space, drawn(space))
    found = []
    for taught in (teacher, logits):
        model.zero_grad()
        arguments = {"distillation": Distillation(temperature=2.0), "rows": len(labels), "teacher": taught}
        losses = accumulate_gradients(model, inputs, labels, passes, **arguments)
        found.append((losses, {n: p.grad.clone() for n, p in model.named_parameters()}))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="needs the teacher's hidden states; there are only its logits"):
        accumulate_gradients(
            model, inputs, labels, passes, distillation=Distillation(hidden_weight=1.0), rows=6, teacher=logits
        )


def test_parts_of_a_batch_add_up_to_the_whole():
    model, space, inputs, labels = setting()
    passes = Strategy("full", k=1).passes(space, drawn(space))
    losses, whole = run(model, inputs, labels, passes, hidden_weight=1.0)
    model.zero_grad()
    sums = np.zeros(len(passes))
    distillation = Distillation(temperature=3.0, hidden_weight=1.0)
    for part in (slice(0, 2), slice(2, 6)):
        inputs_part = {name: tensor[part] for name, tensor in inputs.items()}
        parts = accumulate_gradients(
            model, inputs_part, labels[part], passes, distillation=distillation, rows=len(labels)
        )
        sums += [float(loss) for loss in parts]
    np.testing.assert_allclose(sums, losses, rtol=1e-12)
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.grad, whole[n], rtol=0, atol=1e-12, msg=n)


def test_what_each_strategy_trains():
    space = search_space(SpaceOptions("small"), layers=4, heads=4, units=10)

    def kinds(name, ramp=False, k=2):
        passes = Strategy(name, k=k).passes(space, drawn(space), ramp=ramp)
        ends = {"largest": space.largest, "smallest": space.smallest}
        assert all(p.subnet == ends.get(p.kind, p.subnet) for p in passes)
        assert all(p.distils == (name in ("kd", "full") and p.kind != "largest") for p in passes)
        return [p.kind for p in passes]

    for ramp in (False, True):
        assert kinds("standard", ramp) == ["largest"]
        assert kinds("random", ramp) == ["random"] * 2
        assert kinds("sandwich", ramp) == kinds("full", ramp) == ["largest", "smallest", "random", "random"]
    for name in ("random_linear", "kd"):
        assert kinds(name, False) == ["largest"]
        assert kinds(name, True) == ["random"] * 2
    assert kinds("full", k=0) == ["largest", "smallest"]


def test_no_gradient_reaches_the_teacher_and_none_is_left_behind():
    model, space, inputs, _ = setting()
    teacher = model(**inputs).logits
    small = extract(model, space.middle)
    kl_divergence(small(**inputs).logits, teacher, temperature=2.0).backward()
    assert all(p.grad is None for p in model.parameters())


def test_losses_are_sums_in_at_least_single_precision():
    logits, labels = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([0, 1])
    expected = 2 * float(F.cross_entropy(logits, labels))
    assert float(cross_entropy(logits, labels)) == pytest.approx(expected)
    assert cross_entropy(logits.bfloat16(), labels).dtype == torch.float32
    assert cross_entropy(logits.double(), labels).dtype == torch.float64
    values = torch.tensor([1.0, 3.0])
    assert float(squared_error(torch.tensor([[0.0], [1.0]]), values)) == pytest.approx(5.0)
    # The paper's form, cross-entropy to the teacher's predictions, has the same gradient.
    student, teacher = torch.randn(2, 5, 3, dtype=torch.float64)
    student.requires_grad_()
    (ours,) = torch.autograd.grad(kl_divergence(student, teacher, temperature=3.0), student)
    paper = 9 * F.cross_entropy(student / 3, F.softmax(teacher / 3, dim=1), reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(paper, student)[0])
    # A student equal to its teacher has a gradient of zero, at any temperature.
    student = logits.clone().requires_grad_()
    kl_divergence(student, logits, temperature=10.0).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(logits), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "ful"}, "strategy 'ful' is unknown"),
        ({"name": "full", "k": -1}, "strategy.k is -1"),
        ({"name": "random", "k": 0}, "strategy.k is 0; it must be 1 or more"),
        ({"name": "full", "subnet_weight": 0.0}, "strategy.subnet_weight is 0.0"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        Strategy(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"divergence": "backward"}, "distillation.divergence 'backward' is unknown; allowed: forward, reverse"),
        ({"temperature": 0.0}, "distillation.temperature is 0.0"),
        ({"temperature": float("nan")}, "distillation.temperature is nan"),
        ({"weight": -1.0}, "distillation.weight is -1.0"),
        ({"hidden_weight": float("inf")}, "distillation.hidden_weight is inf"),
    ],
)
def test_impossible_distillation_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        Distillation(**values)

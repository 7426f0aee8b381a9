"""Memory of a training by formula, against what torch allocates."""

import pytest
import torch

from supernet.evaluation.latency import random_inputs
from supernet.models.families import architecture_of
from supernet.space.cost import Workload, total_params
from supernet.space.training_memory import training_memory
from tests.allocations import peak_bytes
from tests.models import FAMILY_NAMES, tiny_model

WORKLOAD = Workload(4, 64)


def step_bytes(model, inputs):
    """The most that a forward and backward pass allocates besides gradients, which are there before it."""

    def step():
        model(**inputs).logits.square().sum().backward()

    step()
    return peak_bytes(step)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_activations_by_formula_are_about_what_torch_allocates(family):
    units = "hidden_dim" if family == "distilbert" else "intermediate_size"
    sizes = {"hidden_size": 128, units: 512, "max_position_embeddings": 80}
    model = tiny_model(family, dtype=torch.float32, **sizes).train()
    measured = step_bytes(model, random_inputs(model, WORKLOAD))
    found = training_memory(
        architecture_of(model.config),
        rows=WORKLOAD.batch_size,
        length=WORKLOAD.length,
        stored_scores=family != "modernbert",  # it has no dropout in attention
    )
    assert found.activations == pytest.approx(measured, rel=0.15)


def test_parts_are_those_of_adam_in_float32():
    a = architecture_of(tiny_model().config)
    memory = training_memory(a, rows=4, length=16, teacher_params=1000)
    parameters = 4 * total_params(a, a.full)
    assert (memory.weights, memory.gradients, memory.optimizer) == (parameters + 4000, parameters, 2 * parameters)
    assert memory.total == 4 * parameters + 4000 + memory.activations


def test_what_saves_memory_takes_less():
    a = architecture_of(tiny_model().config)
    usual = training_memory(a, rows=8, length=32).activations
    assert training_memory(a, rows=4, length=32).activations == usual / 2
    assert training_memory(a, rows=8, length=32, recomputed=True).activations < usual / 2
    assert training_memory(a, rows=8, length=32, stored_scores=False).activations < usual
    assert training_memory(a, rows=8, length=32, bytes_per_activation=2).activations == usual / 2

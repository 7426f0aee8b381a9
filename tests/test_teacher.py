"""A fixed teacher must answer the very question that the student is asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification

from supernet.models.heads import head_for
from supernet.models.pretrained import load_pretrained
from supernet.options.training import Distillation
from supernet.runtime.errors import UserError
from supernet.training.teacher import load_teacher
from tests.fixtures import read_task
from tests.models import tiny_model


@pytest.fixture
def load(model_folder, tokenizer, tmp_path):
    """Loads a teacher of a task, whose tiny model is made with some values."""

    def loaded(task, *, classes=None, auto=AutoModelForSequenceClassification, run=False, count=None, **values):
        names = {} if classes is None else {"id2label": dict(enumerate(classes))}
        count = count or (head_for(task).outputs(task) if classes is None else len(classes))
        values = {"max_position_embeddings": 160, **values}
        teacher = tiny_model("bert", count, torch.float32, auto=auto, **names, **values)
        for part in (teacher, tokenizer):
            part.save_pretrained(tmp_path / "supernet" if run else tmp_path)
        if run:
            (tmp_path / "config.json").write_text(json.dumps({"task": {"name": "sst2"}}))
        student, words = load_pretrained(Path(model_folder), task, seed=0, labels=np.zeros(2))
        options = Distillation(teacher=str(tmp_path))
        return load_teacher(options, task, student, words, device=torch.device("cpu"))

    return loaded


@pytest.mark.parametrize("classes", [None, ("negative", "positive"), ("NEGATIVE", "Positive")])
def test_the_same_classes_or_nameless_ones_are_taken(classes, load):
    assert load(read_task("sst2"), classes=classes).config.num_labels == 2


@pytest.mark.parametrize("classes", [("positive", "negative"), ("ham", "spam"), ("LABEL_1", "LABEL_0")])
def test_other_classes_or_another_order_are_refused(classes, load):
    message = f"has the classes {classes[0]}, {classes[1]}, task 'sst2' has negative, positive, in this order"
    with pytest.raises(UserError, match=message):
        load(read_task("sst2"), classes=classes)


def test_a_run_folder_stands_for_its_supernet(load):
    assert load(read_task("sst2"), run=True).config.num_labels == 2


def test_regression_and_multiple_choice_are_told_apart(load):
    assert load(read_task("swag"), auto=AutoModelForMultipleChoice, count=2) is not None  # transformers' default
    with pytest.raises(UserError, match="a model for classes or numbers, task 'swag' needs one for multiple choice"):
        load(read_task("swag"))
    with pytest.raises(UserError, match="a model for multiple choice, task 'stsb' needs one for classes or numbers"):
        load(read_task("stsb"), auto=AutoModelForMultipleChoice)


def test_a_teacher_that_reads_fewer_tokens_is_named(load):
    with pytest.raises(UserError, match=r"distillation.teacher=.*: task.max_length is 128, .* at most 40 tokens"):
        load(read_task("sst2"), max_position_embeddings=40)

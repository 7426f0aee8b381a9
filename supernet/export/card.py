"""The card of an export folder, README.md: what the model is, its figures, and how to use it; the hub reads its top."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from supernet.console.choices import groups_of, values_in
from supernet.export.report import CARD_FILE, ExportReport, ModelFile
from supernet.models.heads import head_for
from supernet.options.export import CODE, INT8, ONNX, OPENVINO, TORCH
from supernet.options.kinds import KINDS
from supernet.options.task import Task
from supernet.runtime.reading import load_json
from supernet.space.subnetwork import SubNetwork

PACKAGE = "plm-supernet"

ROUNDED = (INT8, OPENVINO)
"""Formats that compute in int8."""

_HUB_METRICS = {
    "accuracy": "accuracy",
    "f1": "f1",
    "matthews": "matthews_correlation",
    "spearman": "spearmanr",
}
"""Names of metrics on the hub."""

_HUB_TASKS = {
    "AutoModelForSequenceClassification": ("text-classification", "Text Classification"),
    "AutoModelForMultipleChoice": ("multiple-choice", "Multiple Choice"),
}
"""By the class of transformers that loads the model: the hub's name of such tasks, and its name for people."""

_MADE = {
    None: "It was trained as a part of a supernet, and cut out",
    "search": "It was trained as a part of a supernet, and chosen and cut out",
    "finetune": "It was cut out of the pre-trained model, trained alone, and chosen",
    "baseline": "It was cut out of a trained model as the baseline `{label}` does it, and chosen",
}
"""How the weights were made, by the mode of the run that they come from."""

_TEXTS = ("A first text.", "Another text.")
"""Of the programs."""


def write_card(folder: Path, report: ExportReport) -> None:
    """Writes README.md. The model files and config.json have to be there.

    Args:
        folder: The export folder.
        report: What export.json will hold.
    """
    (folder / CARD_FILE).write_text(str(card_of(folder, report)), encoding="utf-8")


def card_of(folder: Path, report: ExportReport) -> ModelCard:
    """The card as huggingface_hub's value, see `write_card`."""
    parts = (
        f"# {report.name}",
        _summary(report),
        _figures(report),
        _subnet(report),
        "## Use",
        f"`{report.name}` stands for this folder, or for its name on the hub.",
        _transformers(report),
        _onnxruntime(folder, report),
        _ours(report),
        _limits(report),
    )
    return ModelCard(f"---\n{_metadata(report).to_yaml()}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n")


def _metadata(report: ExportReport) -> ModelCardData:
    """What the hub reads. Values that are not known are left out, as which of the hub's splits has the test rows."""
    task, metric = report.task, _HUB_METRICS[report.task.metric]
    (hub_task, hub_title) = _HUB_TASKS[head_for(task).auto_class.__name__]
    result = EvalResult(
        task_type=hub_task,
        task_name=hub_title,
        dataset_type=task.hub or task.name,
        dataset_name=task.name,
        dataset_config=task.hub_config,
        metric_type=metric,
        metric_value=round(_torch_file(report).metric, 4),
    )
    formats = sorted({file.engine for file in report.files} - {TORCH})
    return ModelCardData(
        model_name=report.name,
        base_model=_base_model(report),
        datasets=[task.hub] if task.hub else None,
        metrics=[metric],
        library_name="transformers",
        pipeline_tag=hub_task,
        tags=["plm-supernet", "structured-pruning", *formats, *(["custom_code"] if report.layout == CODE else [])],
        eval_results=[result],
    )


def _base_model(report: ExportReport) -> str | None:
    """Name of the pre-trained model on the hub, if it is one of conf/model."""
    name = report.origin.get("model")
    return values_in(f"model/{name}.yaml").get("hub") if name in groups_of("train")["model"] else None


def _torch_file(report: ExportReport) -> ModelFile:
    return next(file for file in report.files if file.format == TORCH)


def _summary(report: ExportReport) -> str:
    """What the model is and what it was made of."""
    origin, task = report.origin, report.task
    made = f"a sub-network of `{origin['model']}`" if origin.get("model") else "a sub-network of a language model"
    lines = [
        f"This model is {made} for the task `{task.name}` ({_task_in_words(task)}).",
        f"Of the encoder's parameters, {100 * report.params_share:.0f} % are left.",
        f"{_MADE[origin.get('kind')].format(label=origin.get('label'))} by plm-supernet {report.versions[PACKAGE]}.",
    ]
    finished: dict[str, Any] = origin.get("finished") or {}
    if finished.get("better"):
        before, after = finished["error_before"], finished["error_after"]
        what = f"took its error on validation rows from {before:.4f} to {after:.4f}"
        lines.append(f"Then it was trained alone, which {what if after < before else 'lowered its loss'}.")
    if origin.get("test_run"):
        lines.append("**It comes from a test run, so its quality means nothing.**")
    return " ".join(lines)


def _task_in_words(task: Task) -> str:
    kind = KINDS[task.kind]
    names = f": {', '.join(task.answers)}" if 0 < len(task.answers) <= 20 else ""
    return kind.summary.format(count=len(task.answers)) + names


def _figures(report: ExportReport) -> str:
    """The table of files, and what its numbers hold for."""
    text = (
        "## Figures\n\n"
        + _table(report.headings, report.rows)
        + f"\n\n{report.conditions[0].upper()}{report.conditions[1:]}."
    )
    if any(file.format in ROUNDED for file in report.files):
        has = "has" if any("vnni" in flag for flag in report.processor.flags) else "does not have"
        text += f" int8 differs a little between processors with and without VNNI instructions; this one {has} them."
    return "\n".join([text, *(f"\n{name} was left out: it {reason}." for name, reason in report.left_out.items())])


def _subnet(report: ExportReport) -> str:
    """What is left of each layer."""
    layers = SubNetwork.from_json(report.subnet).layers
    rows = [(str(layer.index), str(len(layer.heads)), str(len(layer.units))) for layer in layers]
    text = _table(("layer", "attention heads", "feed-forward units"), rows)
    return f"## What is left\n\nLayers are numbered as in the full model.\n\n{text}"


def _limits(report: ExportReport) -> str:
    return (
        f"## Limits\n\nThe model reads at most {report.task.max_length} tokens of a row, special tokens included, and "
        "cuts longer texts. It knows what its training rows show, and has the biases of the model that it was cut from."
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


# Programs that use the model. A test runs them.


def transformers_program(report: ExportReport, folder: str) -> str:
    """A program that predicts with transformers: its pipeline, or its model where it has no such pipeline."""
    trust = ", trust_remote_code=True" if report.layout == CODE else ""
    if head_for(report.task).stacked:
        return _CHOOSE.format(name=folder, trust=trust, choices=_choices(report.task)).strip()
    return _CLASSIFY.format(name=folder, trust=trust, text=_as_pipelines_take_it(report.task)).strip()


def _transformers(report: ExportReport) -> str:
    """With transformers."""
    why = (
        "The layers differ in size, which no class of transformers can express. So the folder has its own class, "
        "`modeling_pruned.py`; look at it, then allow it with `trust_remote_code=True`."
    )
    return _section("transformers", transformers_program(report, report.name), why if report.layout == CODE else "")


def _onnxruntime(folder: Path, report: ExportReport) -> str:
    """With onnxruntime, tokenizers and NumPy; none if there is no ONNX file."""
    files = [file.file for file in report.files if file.format in (ONNX, INT8)]
    if not files:
        return ""
    config, settings = (load_json(folder / name) for name in ("config.json", "tokenizer_config.json"))
    direction = settings.get("truncation_side", "right")
    several = len(report.task.choices)
    program = _RUN.format(
        name=report.name,
        file=files[-1],
        length=report.task.max_length,
        direction="" if direction == "right" else f", direction={direction!r}",
        pad=config.get("pad_token_id") or 0,
        rows=json.dumps([list(row) if len(row) > 1 else row[0] for row in _rows(report.task)], ensure_ascii=False),
        shape=f".reshape(1, {several}, -1)" if several else "",
        answer=f"[{list(report.task.answers)}[i] for i in logits.argmax(1)]" if report.task.answers else "logits",
    )
    return _section("onnxruntime", program, "Without torch and transformers.")


def _ours(report: ExportReport) -> str:
    """With this library."""
    task = report.task
    parts = [*_TEXTS[: len(task.text)], *_choices(task)]
    texts = json.dumps([parts if len(parts) > 1 else parts[0]])
    program = f'import plm_supernet\n\nmodel = plm_supernet.load("{report.name}")\nprint(model.predict({texts}))'
    command = f"plm-supernet predict model={report.name} input=texts.csv"
    names = [f"`{name}`" for name in (*task.text, *task.choices)]
    columns = f"the columns {', '.join(names)}" if len(names) > 1 else f"a column {names[0]}"
    return _section("plm-supernet", program, f"For a file with {columns}: `{command}`. In Python:")


def _section(name: str, program: str, text: str) -> str:
    return "\n\n".join(filter(None, (f"### {name}", text, f"```python\n{program.strip()}\n```")))


def _choices(task: Task) -> list[str]:
    return [f"ending {i}" for i in range(len(task.choices))]


def _rows(task: Task) -> list[tuple[str, ...]]:
    """Two rows; in multiple choice, the sequences of one."""
    choices = _choices(task)
    if choices:
        start = f"{_TEXTS[1]} " if len(task.text) > 1 else ""
        return [(_TEXTS[0], start + choice) for choice in choices]
    return [_TEXTS, _TEXTS[::-1]] if len(task.text) > 1 else [(text,) for text in _TEXTS]


def _as_pipelines_take_it(task: Task) -> str:
    pair = {"text": _TEXTS[0], "text_pair": _TEXTS[1]}
    return json.dumps(pair if len(task.text) > 1 else _TEXTS[0])


_CLASSIFY = dedent("""
    from transformers import pipeline

    name = "{name}"
    classify = pipeline("text-classification", model=name, truncation=True{trust})
    print(classify({text}))
""")

_CHOOSE = dedent("""
    import torch
    from transformers import AutoModelForMultipleChoice, AutoTokenizer

    model = AutoModelForMultipleChoice.from_pretrained("{name}"{trust}).eval()
    tokenizer = AutoTokenizer.from_pretrained("{name}"{trust})
    choices = {choices}
    batch = tokenizer(["A first text."] * len(choices), choices, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**{{name: tensor[None] for name, tensor in batch.items()}}).logits
    print(choices[logits.argmax()])
""")

_RUN = dedent("""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("{name}/tokenizer.json")
    tokenizer.enable_truncation({length}{direction})
    tokenizer.enable_padding(pad_id={pad})
    session = onnxruntime.InferenceSession("{name}/{file}")
    rows = tokenizer.encode_batch({rows})
    values = {{"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}}
    names = [node.name for node in session.get_inputs()]
    inputs = {{name: np.array([getattr(row, values[name]) for row in rows]){shape} for name in names}}
    logits = session.run(None, inputs)[0]
    print({answer})
""")

"""A supernet as an estimator of scikit-learn: texts and labels in, a small classifier out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from plm_supernet.handles import Folder, as_texts
from plm_supernet.stages import budget_of, search, train
from supernet.runtime.files import digest, prepare_folder


class SupernetClassifier(ClassifierMixin, BaseEstimator):
    """Trains a supernet, searches it, and predicts with the sub-network that fits the budget.

    Args:
        budget: Limits as `Run.select` takes them, {"max_error_increase": 0.01}; a number is max_params.
        options: Other options of `train`: {"task_max_length": 64, "seed": 1}.
        searcher, max_evaluations: Of the search; None: ehvi, or nsga2 if only the latency is limited.
        output_dir: Folder of all runs, where a fit to the same rows resumes; None: a temporary folder.

    Attributes: classes_ (C,), model_, tokenizer_, subnet_: the labels; the small model, on the CPU, and what it keeps.
    """

    def __init__(self, budget: float | Mapping[str, object] = 0.5, *, options: Mapping[str, Any] | None = None,
                 searcher: str | None = None, max_evaluations: int = 60, output_dir: Folder | None = None):  # fmt: skip
        self.budget, self.options, self.output_dir = budget, options, output_dir
        self.searcher, self.max_evaluations = searcher, max_evaluations

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = False, True, True
        return tags

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> SupernetClassifier:
        """Fits to n texts and n labels. Some of the rows are held out, to choose by."""
        check_consistent_length(texts := as_texts(X), y)
        check_classification_targets(y)
        self.classes_, ids_n = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y has less than two classes; give two classes or more")
        limits = dict(self.budget) if isinstance(self.budget, Mapping) else {"max_params": self.budget}
        budget, names = budget_of(limits), list(map(str, self.classes_))
        rows = [json.dumps({"text": text, "label": names[i]}) for text, i in zip(texts, ids_n, strict=True)]
        about = {"data_text": "text", "data_label": "label", "task_classes": names, "task_label_ids": False}
        with TemporaryDirectory() if self.output_dir is None else nullcontext(self.output_dir) as folder:
            prepare_folder(data := Path(folder, f"rows-{digest(rows)}"))
            (data / "train.jsonl").write_text("\n".join(rows), "utf-8")
            net = train("custom", **{**about, "data_dir": data, "output_dir": folder, **(self.options or {})})
            how: dict[str, Any] = {"objectives": budget.objectives, "max_evaluations": self.max_evaluations}
            choice = search(net, searcher=self.searcher or budget.searcher, **how).select(**limits)
            self.model_, self.tokenizer_, self.subnet_ = choice.model(), net.tokenizer(), choice.subnet
            self.tokenizer_.model_max_length = net.task.max_length
        return self

    @torch.no_grad()
    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """(n, C) probabilities of the classes."""
        check_is_fitted(self)
        texts, parts = as_texts(X), [torch.empty(0, len(self.classes_))]
        for start in range(0, len(texts), 32):
            batch = self.tokenizer_(texts[start : start + 32], truncation=True, padding=True, return_tensors="pt")
            parts.append(self.model_(**batch).logits)
        return torch.cat(parts).double().softmax(-1).numpy()

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """(n,) labels."""
        ids_n = self.predict_proba(X).argmax(1)
        return self.classes_[ids_n]

"""The end of every run of stage two: the front and the full model on the test split, and the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from transformers import PreTrainedModel

from search.loop import attempt
from search.remeasure import remeasured
from search.report.front import front_of
from search.report.one_run import print_report, write_results
from search.report.results import Results, Tested, check_front
from search.run_folder import RunRecord, read_run
from search.session import Session
from search.trials import Evaluated, all_evaluated, predictions_file
from supernet.data.metrics import majority_score
from supernet.evaluation.predictions import write_predictions
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import SubNetwork

ModelOf = Callable[[SubNetwork], PreTrainedModel | None]
"""The model of a sub-network, to be evaluated on the test split; None if its weights were not kept."""


def conclude(session: Session, model_of: ModelOf) -> None:
    """Finds the front, evaluates it and the full model on the test split, and writes and prints the report.

    No other sub-network is ever evaluated on the test split, and test scores choose nothing.

    Raises:
        UserError: if there is no front, or the weights of a member are gone.
    """
    run = read_run(session.folder)
    front = front_of(run)
    check_front(run, front)
    results = evaluate_front(session, run, front, model_of)
    notes: list[str] = []
    if session.latencies is not None:
        session.console.print("measuring the latencies of the front again, in turns with the full model")
        with session.show_progress("measuring latencies again"):
            results, notes = remeasured(session.latencies, run, results, partial(_model, model_of=model_of))
    write_results(run, results)
    print_report(session.console, run, results, remarks=[*notes, *(f"note: {remark}" for remark in session.remarks())])


def evaluate_front(session: Session, run: RunRecord, front: list[Evaluated], model_of: ModelOf) -> Results:
    """Scores of the front, the full model and the trivial predictor on the test split."""
    evaluator = session.evaluator(session.data.test)
    tested = []
    with session.show_progress("evaluating the front on the test rows", len(front), unit="sub-networks") as progress:
        for e in front:
            tested.append(Tested(e, evaluator.score(_model(e.subnet, model_of))))
            progress.advance()
    full = next((t for t in tested if t.evaluated.subnet == session.supernet.space.largest), None)
    own = full is not None
    if full is None:
        evaluated, model, own = _full_model(session, run, model_of)
        full = None if evaluated is None else Tested(evaluated, evaluator.score(model))
    task, labels, known = session.data.task, session.data.test.labels, session.data.validation.labels
    return Results(
        front=tested,
        full=full,
        full_is_supernets=not own,
        majority_score=majority_score(task, labels, known=known),
        validation_rows=len(known),
    )


def _model(subnet: SubNetwork, model_of: ModelOf) -> PreTrainedModel:
    model = model_of(subnet)
    if model is None:
        raise UserError(f"the weights of sub-network ({subnet}) are gone; start again with overwrite=true")
    return model


def _full_model(session: Session, run: RunRecord, model_of: ModelOf) -> tuple[Evaluated | None, PreTrainedModel, bool]:
    """The full model as a sub-network, its weights, and whether the run evaluated it. If not, the supernet's is used.

    A baseline may have no budget of 1, a trial may have failed, and older versions did not keep the weights.
    """
    subnet = session.supernet.space.largest
    own = next((e for e in all_evaluated(run.trials) if e.subnet == subnet), None)
    model = None if own is None else model_of(subnet)
    if model is not None:
        return own, model, True
    model = extract(session.supernet.model, subnet, share=True)
    outcome = attempt(lambda: session.weight_shared.evaluate(subnet, model))
    if outcome.metrics is None:
        session.console.print(f"the full model could not be evaluated: {outcome.failure}")
        return None, model, False
    path = predictions_file(run.folder, None)
    if path.parent.is_dir():  # the run keeps predictions
        write_predictions(path, [outcome.predictions[subnet]], session.data.validation.labels)
    return Evaluated(subnet, outcome.metrics), model, False

"""The doctor: checks the machine, then the planned trainings, and shows what it finds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from search.doctor.findings import PROBLEM, Row, run_checks
from search.doctor.machine import MACHINE_CHECKS, Machine
from search.doctor.plan import Plan
from search.doctor.show import Report, print_report
from search.doctor.sweep import pace_of, planned_run, sweep_findings
from search.doctor.training import CONFIG_CHECKS, TRAINING_CHECKS
from search.options.doctor import DoctorConfig
from supernet.console.config import load_config
from supernet.console.progress import plain_console
from supernet.console.routing import Overrides
from supernet.console.sweep import Job
from supernet.options.training import TrainConfig
from supernet.runtime.commands import typed_command
from supernet.runtime.distributed import several_processes
from supernet.runtime.errors import UserError
from supernet.runtime.storage import user_path

NO_TRAINING = ("output_dir", "data.cache_dir")
"""Options of a training that say where things are on the machine. Alone they plan no training."""


def doctor(jobs: list[Job[Overrides]]) -> None:
    """Checks, and prints what it finds.

    Raises:
        UserError: if the doctor's own options differ between the jobs, or there are several processes.
        SystemExit: with status 1, if there is a problem.
    """
    if several_processes():
        raise UserError(f"the doctor looks at one process; start '{typed_command('doctor')}' without a launcher")
    options, plans = plans_of(jobs)
    planned = any(_is_training(text) for job in jobs for text in job.config["train"]) or bool(options.limits)
    report = examine(options, plans, plain_console(stderr=True), planned=planned)
    if options.format == "json":
        print(report.json())
    else:
        print_report(plain_console(), report)
    if report.level == PROBLEM:
        sys.exit(1)


def examine(options: DoctorConfig, plans: Sequence[Plan], console: Console, *, planned: bool = True) -> Report:
    """Checks the machine, and the trainings if any are planned.

    Of trainings that differ in seeds or learning rates only, one is measured.

    Args:
        options: The doctor's own.
        plans: At least one.
        console: For progress.
        planned: Whether to check the trainings too.
    """
    report, paces = Report(), dict[str, float | None]()
    with console.status("checking this machine"):
        report.rows += run_checks(MACHINE_CHECKS, _machine(options, plans))
    for number, plan in enumerate(plans if planned else (), start=1):
        new = (pace := pace_of(plan.given)) not in paces
        with console.status(f"checking training {number} of {len(plans)}"):
            checks = [*CONFIG_CHECKS, *(TRAINING_CHECKS if new else ())]
            report.rows += run_checks(checks, plan, plan.name)
        paces.setdefault(pace, plan.seconds)
        if plan.known_sizes:
            report.subnets[plan.name] = plan.known_sizes
        with suppress(UserError):  # a check has found it
            report.runs.append(planned_run(plan, paces[pace]))
    if planned and len(plans) > 1:
        report.rows += [Row("sweep", finding, "the sweep") for finding in sweep_findings(report.runs, len(plans))]
    return report


def _machine(options: DoctorConfig, plans: Sequence[Plan]) -> Machine:
    given = [plan.given for plan in plans]
    return Machine(
        user_path(given[0].output_dir),
        given[0].data.cache_dir,
        tuple(dict.fromkeys(config.model for config in given)),
        tuple(dict.fromkeys(config.task.name for config in given)),
        options.supernet,
    )


def plans_of(jobs: Sequence[Job[Overrides]]) -> tuple[DoctorConfig, list[Plan]]:
    """The doctor's options and the planned trainings.

    Raises:
        UserError: if a key of the doctor has several values.
    """
    own = [tuple(job.config["doctor"]) for job in jobs]
    if len(set(own)) > 1:
        several = next(text for text in own[1] if text not in own[0]).partition("=")[0]
        raise UserError(f"{several} has several values; give one: the doctor takes several for options of a training")
    options = load_config("doctor", DoctorConfig, own[0])
    return options, [Plan(job.name, load_config("train", TrainConfig, job.config["train"]), options) for job in jobs]


def _is_training(override: str) -> bool:
    return override.partition("=")[0] not in NO_TRAINING

"""The command of stage one: `plm-supernet train task=mnli`."""

from __future__ import annotations

from pathlib import Path

from supernet.console.config import run_app
from supernet.console.environment import check_environment
from supernet.console.start import loading
from supernet.options.training import TrainConfig
from supernet.runtime.distributed import end_group


def main() -> None:
    """Trains a supernet as the command line says."""
    run_app("train", TrainConfig, _train)
    end_group()


def _train(config: TrainConfig) -> Path:
    check_environment()
    with loading():  # not above: it brings torch along, which help and mistakes need not wait for
        from supernet.training.train import train

    return train(config)


if __name__ == "__main__":
    main()

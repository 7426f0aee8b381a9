"""The command of stage one: `accelerate launch train_supernet.py task=mnli`."""

from __future__ import annotations

from pathlib import Path

from supernet.config import run_app
from supernet.environment import check_environment
from supernet.group import end_group
from supernet.options import TrainConfig
from supernet.start import loading


def main() -> None:
    """Trains a supernet as the command line says."""
    run_app("train", TrainConfig, _train)
    end_group()


def _train(config: TrainConfig) -> Path:
    check_environment()
    with loading():  # not above: it brings torch along, which help and mistakes need not wait for
        from supernet.train import train

    return train(config)


if __name__ == "__main__":
    main()

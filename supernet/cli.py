"""The command of stage one: `accelerate launch train_supernet.py task=mnli`."""

from __future__ import annotations

from supernet.config import run_app
from supernet.group import end_group
from supernet.options import TrainConfig


def main() -> None:
    """Trains a supernet as the command line says."""
    run_app("train", TrainConfig, _train)
    end_group()


def _train(config: TrainConfig) -> None:
    from supernet.train import train  # not above: it brings torch along, which help and mistakes need not wait for

    train(config)


if __name__ == "__main__":
    main()

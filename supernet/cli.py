"""The command of stage one: `accelerate launch train_supernet.py task=mnli`."""

from __future__ import annotations

from supernet.config import run_app
from supernet.options import TrainConfig
from supernet.processes import end_processes
from supernet.train import train


def main() -> None:
    """Trains a supernet as the command line says."""
    run_app("train", TrainConfig, train)
    end_processes()


if __name__ == "__main__":
    main()

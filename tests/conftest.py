from pathlib import Path

import pytest
import yaml
from transformers import BertTokenizerFast

from supernet.tasks import Task

TASK_FOLDER = Path(__file__).parent.parent / "conf" / "task"
TASK_NAMES = sorted(file.stem for file in TASK_FOLDER.glob("*.yaml"))


def read_task(name, **values):
    """A task of the task table, with some values changed."""
    return Task(**(yaml.safe_load((TASK_FOLDER / f"{name}.yaml").read_text()) | values))


@pytest.fixture(scope="session")
def tokenizer():
    """A WordPiece tokenizer of 49 pieces that spells words out, and whose padding is token 1."""
    letters = "etaoinshrdlucmfgpwybvk"
    pieces = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)})

"""What a supernet's folder says of it, without a training."""

from supernet.artifact import SupernetInfo
from supernet.options.data import DataOptions
from supernet.options.training import Distillation, OrderOptions
from supernet.space.sampling import SamplingOptions
from supernet.space.spaces import SpaceOptions
from supernet.space.strategies import Strategy
from tests.fixtures import read_task


def info(**values):
    known = {"task": read_task("rte", max_length=40), "data": DataOptions(dir="/data"), "model": "tiny"}
    known |= {"space": SpaceOptions("medium"), "sampling": SamplingOptions(), "order": OrderOptions("importance")}
    known |= {"distillation": Distillation(temperature=2.0)}
    known |= {"splits": {"train": "a", "validation": "b", "test": "c"}}
    known |= {"strategy": Strategy("full", k=1), "seed": 4, "validation_error": {"largest": 0.25}}
    return SupernetInfo(**known | values)

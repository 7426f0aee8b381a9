"""One `full` training step (k = 2): sliced (ours) against masked (the paper's way), on the same equally padded batches.

A third way masks heads and units too, but leaves layers out for good: as much as masks allow without slicing.

usage: python benchmarks/train_step.py [--steps 16] [--batch 16]

All take the same sub-networks, losses and batches, padded alike; their losses must agree. They take turns in one
process; the optimizer's own step, which is the same for all, is counted. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.common import device_name, generated_split, minilm
from benchmarks.masked import masked
from supernet.distillation import Distillation, label_loss, soft_loss
from supernet.families import architecture_of
from supernet.slicing import view
from supernet.space import SpaceOptions, search_space
from supernet.strategies import Pass, Strategy, accumulate_gradients
from supernet.subnetwork import SubNetwork
from supernet.tokens import Batch, collate

DISTILLATION = Distillation()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()

    model, _ = minilm()  # in evaluation mode: without dropout the two can be compared
    a = architecture_of(model.config)
    space = search_space(SpaceOptions("small"), layers=a.layers, heads=a.heads, units=a.units)
    strategy = Strategy("full", k=2)
    split = generated_split(arguments.batch * (arguments.steps + 1), seed=0, vocabulary=model.config.vocab_size)
    order = np.argsort(split.lengths, kind="stable")  # every batch gets rows of all lengths, so all are padded alike
    ways = {name: (way, copy.deepcopy(model)) for name, way in WAYS.items()}
    optimizers = {name: torch.optim.AdamW(m.parameters(), lr=1e-5, fused=True) for name, (_, m) in ways.items()}
    seconds = dict.fromkeys(ways, 0.0)
    for step in range(arguments.steps + 1):
        batch = collate(split, order[step :: arguments.steps + 1], 0, "cpu")
        passes = strategy.passes(space, partial(space.sample, np.random.default_rng([0, step])))
        losses = {}
        for name, (accumulate, its_model) in ways.items():
            start = time.perf_counter()
            losses[name] = torch.stack(accumulate(its_model, batch, passes)).tolist()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if step > 0:  # the first is to warm up
                seconds[name] += time.perf_counter() - start
        for name in ways:
            np.testing.assert_allclose(losses[name], losses["masked"], rtol=2e-3)
        print(f"step {step}: " + ", ".join(str(s) for s in (p.subnet for p in passes)), flush=True)
    print(f"{device_name()}; batch {arguments.batch}, {split.lengths.mean():.1f} tokens, {arguments.steps} steps")
    print(
        json.dumps(
            {
                **{f"{name}_s": round(taken, 3) for name, taken in seconds.items()},
                "speedup": round(seconds["masked"] / seconds["ours"], 3),
                "speedup_layers_cut": round(seconds["layers_cut"] / seconds["ours"], 3),
            }
        )
    )


def _ours(model: PreTrainedModel, batch: Batch, passes: list[Pass]) -> list[Tensor]:
    return accumulate_gradients(model, batch.inputs, batch.labels, passes, distillation=DISTILLATION, rows=len(batch))


def _masked(model: PreTrainedModel, batch: Batch, passes: list[Pass], *, cut: bool = False) -> list[Tensor]:
    teacher = None
    losses = []
    for p in passes:
        net, subnet = _layers_only(model, p.subnet) if cut else (model, p.subnet)
        with masked(net, subnet):
            logits = net(**batch.inputs).logits
        loss = label_loss(logits, batch.labels)
        if teacher is None:
            teacher = logits.detach()
        else:
            loss = loss + soft_loss(logits, teacher, temperature=DISTILLATION.temperature)
        (loss / len(batch)).backward()
        losses.append(loss.detach() / len(batch))
    return losses


def _layers_only(model: PreTrainedModel, subnet: SubNetwork) -> tuple[PreTrainedModel, SubNetwork]:
    """A model of the layers that are kept, whole, and what is kept of these."""
    config = model.config
    indices = [s.index for s in subnet.layers]
    whole = SubNetwork.uniform(indices, config.num_attention_heads, config.intermediate_size)
    return view(model, whole), SubNetwork(tuple(replace(s, index=i) for i, s in enumerate(subnet.layers)))


WAYS = {"masked": _masked, "layers_cut": partial(_masked, cut=True), "ours": _ours}


if __name__ == "__main__":
    main()

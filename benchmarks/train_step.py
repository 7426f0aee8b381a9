"""A `full` training step (k = 2): sliced (ours) against masked (as in the paper), on the same padded batches.

usage: python benchmarks/train_step.py [--steps 16] [--batch 16]            MiniLM on a CPU, in float32
       python benchmarks/train_step.py --device cuda [--batch 32]           BERT-base's shape on a GPU, in bfloat16

A third method masks heads and units but removes layers: the best that masks allow. All methods take turns in one
process, with the same sub-networks, losses and batches, padded to at most 128 tokens. Their losses must agree. The
optimizer's step counts. Last line: one JSON object. share_of_matmul is the time that the operations of our passes would
take at the machine's rate of matrix products, divided by ours_s.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from benchmarks.common import device_name, generated_split, matmul_rate, minilm
from benchmarks.masked import masked
from supernet.data.batches import Batch, collate
from supernet.models.families import architecture_of
from supernet.models.losses import cross_entropy, kl_divergence
from supernet.models.slicing import view
from supernet.options.training import Distillation
from supernet.space.cost import total_flops
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.strategies import Pass, Strategy
from supernet.space.subnetwork import SubNetwork
from supernet.training.gradients import accumulate_gradients

DISTILLATION = Distillation()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    device, steps = arguments.device, arguments.steps
    batch_size = arguments.batch or (16 if device == "cpu" else 32)

    # Without dropout, so that losses can be compared.
    model = (minilm()[0] if device == "cpu" else bert_base()).to(device)
    split = generated_split(batch_size * (steps + 1), seed=0, vocabulary=model.config.vocab_size)
    order = np.argsort(split.lengths, kind="stable")  # every batch gets rows of all lengths, so all are padded alike
    batches = (collate(split, order[step :: steps + 1], 0, device) for step in range(steps + 1))
    used, flops = take_turns(model, batches)
    print(f"{device_name(device)}; batch {batch_size}, {split.lengths.mean():.1f} tokens, {steps} steps")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    ours = used["ours"].seconds
    result = {f"{name}_s": u.seconds for name, u in used.items()}
    result |= {"speedup": used["masked"].seconds / ours, "speedup_layers_cut": used["layers_cut"].seconds / ours}
    result |= {"share_of_matmul": flops / matmul_rate(device=device, dtype=dtype) / ours}
    result |= {f"{name}_peak_gib": u.peak_bytes / 2**30 for name, u in used.items() if u.peak_bytes}
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


def take_turns(model: PreTrainedModel, batches: Iterable[Batch]) -> tuple[dict[str, Used], int]:
    """Trains a copy of the model with each method on the same batches. The first batch is to warm up.

    Returns:
        Time and peak memory of each method, and the operations of all passes, without the first batch.
    """
    a, strategy, on_cpu = architecture_of(model.config), Strategy("full", k=2), model.device.type == "cpu"
    space = search_space(SpaceOptions("small"), layers=a.layers, heads=a.heads, units=a.units)
    methods = {name: (method, copy.deepcopy(model)) for name, method in METHODS.items()}
    optimizers = {name: torch.optim.AdamW(m.parameters(), lr=1e-5, fused=True) for name, (_, m) in methods.items()}
    total, flops = {name: Used() for name in methods}, 0
    for step, batch in enumerate(batches):
        passes = strategy.passes(space, partial(space.sample, np.random.default_rng([0, step])))
        losses = {}
        for name, (accumulate, method_model) in methods.items():
            with measured(model.device.type) as used:
                losses[name] = torch.stack(accumulate(method_model, batch, passes)).tolist()
                optimizers[name].step()
                optimizers[name].zero_grad()
            if step > 0:
                total[name].seconds += used.seconds
                total[name].peak_bytes = max(total[name].peak_bytes, used.peak_bytes)
        if step > 0:
            tokens = batch.inputs["input_ids"].shape[1]
            flops += sum(3 * len(batch) * total_flops(a, p.subnet, tokens=tokens) for p in passes)
        for name in methods:
            np.testing.assert_allclose(losses[name], losses["masked"], rtol=2e-3 if on_cpu else 3e-2)
        print(f"step {step}: " + ", ".join(str(s) for s in (p.subnet for p in passes)), flush=True)
    return total, flops


@dataclass
class Used:
    """Use of a block: time and, on a GPU, the peak memory of tensors above the memory in use before it."""

    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def measured(device: str) -> Iterator[Used]:
    """Measures the block, including work that the GPU finishes later."""
    used, cuda = Used(), device == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before, start = torch.cuda.memory_allocated() if cuda else 0, time.perf_counter()
    yield used
    if cuda:
        torch.cuda.synchronize()
        used.peak_bytes = torch.cuda.max_memory_allocated() - before
    used.seconds = time.perf_counter() - start


def bert_base() -> PreTrainedModel:
    """A model of BERT-base's shape with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(BertConfig(num_labels=2)).eval()


def _autocast(device: torch.device) -> AbstractContextManager[None]:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _ours(model: PreTrainedModel, batch: Batch, passes: list[Pass]) -> list[Tensor]:
    autocast = partial(_autocast, model.device)
    return accumulate_gradients(
        model, batch.inputs, batch.labels, passes, distillation=DISTILLATION, rows=len(batch), autocast=autocast
    )


def _masked(model: PreTrainedModel, batch: Batch, passes: list[Pass], *, cut: bool = False) -> list[Tensor]:
    teacher = None
    losses = []
    for p in passes:
        pruned, subnet = _layers_only(model, p.subnet) if cut else (model, p.subnet)
        with masked(pruned, subnet), _autocast(model.device):
            logits = pruned(**batch.inputs).logits
        loss = cross_entropy(logits, batch.labels)
        if teacher is None:
            teacher = logits.detach()
        else:
            loss = loss + kl_divergence(logits, teacher, temperature=DISTILLATION.temperature)
        (loss / len(batch)).backward()
        losses.append(loss.detach() / len(batch))
    return losses


def _layers_only(model: PreTrainedModel, subnet: SubNetwork) -> tuple[PreTrainedModel, SubNetwork]:
    """A model of the kept layers at full width, and the sub-network in it."""
    config = model.config
    indices = [s.index for s in subnet.layers]
    whole = SubNetwork.uniform(indices, config.num_attention_heads, config.intermediate_size)
    return view(model, whole), SubNetwork(tuple(replace(s, index=i) for i, s in enumerate(subnet.layers)))


METHODS = {"masked": _masked, "layers_cut": partial(_masked, cut=True), "ours": _ours}


if __name__ == "__main__":
    main()

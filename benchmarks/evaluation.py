"""Evaluation of sub-networks: extracted, on prepared batches (ours), against masked (as in the paper).

usage: python benchmarks/evaluation.py [--rows 256] [--subnets 12] [--device cuda] [--processor-time]

Three methods alternate in one process, on the same random sub-networks of minilm's small space and the same generated
sentence pairs (about 64 tokens on average, at most 128). Their predictions must agree.
  (a) masking as in the paper's code: batches of 8 padded to 128, every layer computed completely;
  (b) ours, as `search.py` does it, extraction included;
  (c) ours with early exits: a pass evaluates the sub-network and all its prefixes.
A GPU computes in bf16 if it can. A profile of (b) follows: the share of each part in the time.

On a machine with other work, use --processor-time: it counts the processor time of this process instead of the elapsed
time. Set OMP_NUM_THREADS=1 with it, since it would count every thread.

Last line: one JSON object. share_of_matmul_limit is the time that the necessary operations alone would take at the
machine's rate of matrix products (measured before and after), divided by ours_s. The necessary operations are those of
the encoder on real tokens; at the end of the last layer only those on the first tokens. Evaluations count each
sub-network once, even if several passes evaluate it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AutoTokenizer, PreTrainedModel

from benchmarks.common import classification_task, device_name, generated_split, matmul_rate, minilm
from benchmarks.masked import masked
from supernet.data.batches import collate
from supernet.data.tokens import TokenizedSplit
from supernet.evaluation.evaluator import AUTOCAST, Evaluator
from supernet.evaluation.latency import Clock
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.space.cost import Architecture, encoder_flops
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.subnetwork import SubNetwork

PARTS = {
    "matrix products": ("aten::addmm", "aten::mm", "aten::linear", "aten::bmm", "aten::matmul"),
    "attention": ("aten::_scaled_dot_product", "aten::scaled_dot_product", "aten::_flash", "aten::_efficient"),
    "activations, norms, sums": (
        "aten::gelu",
        "aten::native_layer_norm",
        "aten::layer_norm",
        "aten::tanh",
        "aten::add",
    ),
    "embeddings": ("aten::embedding", "aten::index_select", "aten::gather"),
    "copies and casts": ("aten::copy_", "aten::_to_copy", "aten::clone", "aten::contiguous", "aten::cat", "aten::to"),
    "extraction, besides copies": ("extraction",),
    "Python around operations": ("evaluation",),
}
"""Operations by the beginning of their name. All others, such as masks and views, are the rest."""


def main() -> None:
    arguments = _arguments()
    device, clock = arguments.device, time.process_time if arguments.processor_time else time.perf_counter
    native = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = "bf16" if native else "no"

    model, folder = minilm()
    model.to(device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    a = architecture_of(model.config)
    space = search_space(SpaceOptions("small"), layers=a.layers, heads=a.heads, units=a.units)
    rng = np.random.default_rng(0)
    subnets = [space.sample(rng) for _ in range(arguments.subnets)]
    split = generated_split(arguments.rows, seed=0, vocabulary=model.config.vocab_size)
    evaluator = Evaluator(split, classification_task(), tokenizer, device=device, mixed_precision=precision)
    paper = _Paper(model, split, tokenizer.pad_token_id, evaluator)

    dtype = AUTOCAST[precision] or torch.float32
    rates = [matmul_rate(device=device, dtype=dtype, clock=clock)]
    seconds = _alternate(paper, evaluator, subnets, clock=clock, tolerance=1e-4 if precision == "no" else 0.1)
    rates.append(matmul_rate(device=device, dtype=dtype, clock=clock))

    rate, flops = max(rates), sum(_needed_flops(a, s, int(tokens)) for s in subnets for tokens in split.lengths)
    _print_profile(model, evaluator, subnets)
    print(
        f"{device_name(device)}; {len(split)} rows of {split.lengths.mean():.1f} tokens; {rate / 1e9:.0f} GFLOP/s in "
        f"matrix products (before and after: {', '.join(f'{r / 1e9:.0f}' for r in rates)}), "
        f"{flops / seconds['ours'] / 1e9:.0f} GFLOP/s of necessary operations; {precision=!s}"
    )
    result = _result(seconds, subnets, least_s=flops / rate)
    print(json.dumps({key: round(value, 3) for key, value in result.items()}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--subnets", type=int, default=12)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processor-time", action="store_true")
    return parser.parse_args()


def _alternate(
    paper: _Paper, evaluator: Evaluator, subnets: Sequence[SubNetwork], *, clock: Clock, tolerance: float
) -> dict[str, float]:
    """Seconds of each method over all sub-networks. Their predictions must agree up to `tolerance`."""
    model = paper.model
    evaluator.logits(model)  # once to warm up
    seconds = dict.fromkeys(("masked", "ours", "ours, all depths"), 0.0)
    for subnet in subnets:
        times = [clock()]
        expected = paper.logits(subnet)
        times.append(clock())
        logits = evaluator.logits(extract(model, subnet, share=True))
        times.append(clock())
        depths = evaluator.early_exit_logits(extract(model, subnet, share=True))
        times.append(clock())
        for sliced in (logits, depths[0]):
            np.testing.assert_allclose(sliced, expected, atol=tolerance)
        taken = dict(zip(seconds, np.diff(times).tolist(), strict=True))
        seconds = {method: seconds[method] + taken[method] for method in seconds}
        print(f"{subnet!s:36} " + "   ".join(f"{method} {s:7.3f} s" for method, s in taken.items()), flush=True)
    return seconds


def _result(seconds: Mapping[str, float], subnets: Sequence[SubNetwork], *, least_s: float) -> dict[str, float]:
    """The figures of the last line.

    Args:
        seconds: Of each method.
        subnets: Those evaluated.
        least_s: Seconds that the necessary operations take at the machine's rate of matrix products.
    """
    reached = {s for subnet in subnets for s in (subnet, *subnet.prefixes())}
    return {
        "masked_s": seconds["masked"],
        "ours_s": seconds["ours"],
        "speedup": seconds["masked"] / seconds["ours"],
        "share_of_matmul_limit": least_s / seconds["ours"],
        "evaluations_per_minute": 60 * len(set(subnets)) / seconds["ours"],
        "evaluations_per_minute_with_depth_reuse": 60 * len(reached) / seconds["ours, all depths"],
    }


class _Paper:
    """Masking, on batches of 8 padded to 128, in the precision and on the device of `evaluator`."""

    def __init__(self, model: PreTrainedModel, split: TokenizedSplit, pad_token_id: int, evaluator: Evaluator) -> None:
        self.model, self.evaluator = model, evaluator
        rows = np.array_split(np.arange(len(split)), -(-len(split) // 8))
        self.batches = [_padded(split, some, pad_token_id, str(evaluator.device)) for some in rows]

    def logits(self, subnet: SubNetwork) -> np.ndarray:
        dtype = self.evaluator.autocast
        autocast = torch.autocast(self.evaluator.device.type, dtype, enabled=dtype is not None)
        with masked(self.model, subnet), torch.inference_mode(), autocast:
            return torch.cat([self.model(**inputs).logits for inputs in self.batches]).float().cpu().numpy()


def _padded(
    split: TokenizedSplit, rows: np.ndarray, pad_token_id: int, device: str, length: int = 128
) -> dict[str, torch.Tensor]:
    """A batch padded to `length`, even if its rows are shorter."""
    inputs = collate(split, rows, pad_token_id, device).inputs
    have = inputs["input_ids"].shape[1]
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    fill = {"input_ids": pad_token_id}
    return {
        name: torch.nn.functional.pad(tensor, (0, length - have), value=fill.get(name, 0))
        for name, tensor in inputs.items()
    }


def _needed_flops(a: Architecture, subnet: SubNetwork, tokens: int) -> int:
    """Operations of the encoder without those of the last layer that only tokens after the first would go through."""
    whole = encoder_flops(a, subnet, tokens=tokens)
    if not subnet.layers:
        return whole
    last = subnet.layers[-1]
    # A quarter of a head's weights are its output's, which in BERT comes after what tokens see of each other.
    return whole - 2 * (tokens - 1) * (len(last.units) * a.unit_macs + len(last.heads) * a.head_macs // 4)


def _print_profile(model: PreTrainedModel, evaluator: Evaluator, subnets: list[SubNetwork]) -> None:
    """Shares of the time of evaluating the sub-networks, measured once more under the profiler."""
    on_gpu = evaluator.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for subnet in subnets:
            with record_function("extraction"):
                small = extract(model, subnet, share=True)
            with record_function("evaluation"):
                evaluator.logits(small)
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    shares = _shares({event.key: getattr(event, attribute) for event in profiler.key_averages()})
    print("\n".join(f"{part:28} {share:6.1%}" for part, share in shares.items()))


def _shares(times: Mapping[str, float]) -> dict[str, float]:
    """Share of each of `PARTS` in the time of all operations, by their names."""
    taken = dict.fromkeys([*PARTS, "the rest"], 0.0)
    for name, spent in times.items():
        part = next((part for part, starts in PARTS.items() if name.startswith(starts)), "the rest")
        taken[part] += spent
    return {part: spent / sum(taken.values()) for part, spent in taken.items()}


if __name__ == "__main__":
    main()

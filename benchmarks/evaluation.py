"""Evaluating sub-networks: extracted and on prepared batches (ours) against masked (the paper's way).

usage: python benchmarks/evaluation.py [--rows 256] [--subnets 12]

In one process and on the same random sub-networks of minilm's small space and the same generated sentence pairs (about
64 tokens on average, cut at 128): (a) masking as the paper's code does it, batches of 8 padded to 128, every layer
computed whole; (b) ours, as `search.py` does it, extraction included. The two alternate, and their predictions must
agree. Last line: one JSON object; share_of_matmul_limit is the time that the encoder's operations on real tokens alone
would take at the machine's matrix-product rate, measured just before, over ours_s.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from transformers import AutoTokenizer

from benchmarks.common import classification_task, device_name, generated_split, matmul_rate, minilm
from benchmarks.masked import masked
from supernet.cost import encoder_flops
from supernet.evaluate import Evaluator
from supernet.families import architecture_of
from supernet.slicing import extract
from supernet.space import SpaceOptions, search_space
from supernet.tokens import collate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--subnets", type=int, default=12)
    arguments = parser.parse_args()

    model, folder = minilm()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    a = architecture_of(model.config)
    space = search_space(SpaceOptions("small"), layers=a.layers, heads=a.heads, units=a.units)
    rng = np.random.default_rng(0)
    subnets = [space.sample(rng) for _ in range(arguments.subnets)]
    split = generated_split(arguments.rows, seed=0, vocabulary=model.config.vocab_size)
    evaluator = Evaluator(split, classification_task(), tokenizer)
    padded = [
        _padded(split, rows, tokenizer.pad_token_id) for rows in np.array_split(np.arange(len(split)), len(split) // 8)
    ]

    rate = matmul_rate()
    masked_s, ours_s, flops = 0.0, 0.0, 0
    evaluator.logits(model)  # once to warm up
    for subnet in subnets:
        start = time.perf_counter()
        with masked(model, subnet), torch.inference_mode():
            expected = torch.cat([model(**inputs).logits for inputs in padded]).numpy()
        middle = time.perf_counter()
        found = evaluator.logits(extract(model, subnet, share=True))
        end = time.perf_counter()
        np.testing.assert_allclose(found, expected, atol=1e-4)
        masked_s, ours_s = masked_s + middle - start, ours_s + end - middle
        flops += sum(encoder_flops(a, subnet, tokens=int(tokens)) for tokens in split.lengths)
        print(f"{subnet!s:36} masked {middle - start:6.2f} s   ours {end - middle:6.3f} s", flush=True)
    print(
        f"{device_name()}; {len(split)} rows of {split.lengths.mean():.1f} tokens; {rate / 1e9:.0f} GFLOP/s in matrix "
        f"products, {flops / ours_s / 1e9:.0f} GFLOP/s on real tokens"
    )
    print(
        json.dumps(
            {
                "masked_s": round(masked_s, 3),
                "ours_s": round(ours_s, 3),
                "speedup": round(masked_s / ours_s, 3),
                "share_of_matmul_limit": round(flops / rate / ours_s, 3),
            }
        )
    )


def _padded(split, rows, pad_token_id, length=128):  # type: ignore[no-untyped-def]
    """A batch padded to `length` whatever its rows need."""
    inputs = collate(split, rows, pad_token_id, "cpu").inputs
    have = inputs["input_ids"].shape[1]
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    fill = {"input_ids": pad_token_id}
    return {
        name: torch.nn.functional.pad(tensor, (0, length - have), value=fill.get(name, 0))
        for name, tensor in inputs.items()
    }


if __name__ == "__main__":
    main()

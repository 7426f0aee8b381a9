"""The precisions that models compute in."""

from __future__ import annotations

AUTO = "auto"
"""The precision that suits the machine."""

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Our names, and Accelerate's."""

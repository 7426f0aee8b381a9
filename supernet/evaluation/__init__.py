"""The error and the latency of a model. It imports `data`, `models` and what they import."""

"""Sub-networks as values, the spaces that they come from, and what they cost; no torch. It imports `runtime`."""

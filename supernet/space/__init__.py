"""Sub-networks as values, the search spaces that contain them, and their costs, without torch. It imports `runtime`."""

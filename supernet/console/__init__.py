"""What people type and what they see: the configuration of a command, keys, sweeps, progress. It imports `runtime`."""

"""The command line: the configuration of a command, keys, sweeps, help, progress. It imports `runtime`."""

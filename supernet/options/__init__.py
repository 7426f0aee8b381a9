"""What stage one can be told, as frozen values that check themselves; no torch. It imports `space` and `runtime`."""

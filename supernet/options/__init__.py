"""The options of stage one, as frozen values that check themselves; no torch. It imports `space` and `runtime`."""

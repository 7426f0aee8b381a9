"""Standard NAS: each sub-network trained alone, as trials of Syne Tune's Tuner."""

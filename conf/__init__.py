"""Hydra configuration: YAML values and names only."""

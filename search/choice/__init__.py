"""The sub-network of a run for a budget."""

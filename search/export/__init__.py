"""From the choice of a run to a model that leaves the house."""

"""Stage two: search the sub-networks of a trained supernet for the Pareto front. Imports `supernet`, never back."""

"""Stage two: search the sub-networks of a trained supernet for the Pareto front. Imports `supernet`, never back."""

import supernet  # noqa: F401  first of all: it says how torch's threads wait, which torch reads when it is loaded

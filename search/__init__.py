"""Stage two: search the sub-networks of a trained supernet for the Pareto front. Imports `supernet`, never back."""

import supernet  # noqa: F401  first of all: it says how torch's threads wait, which torch reads when it is loaded
from supernet.console.start import leave_at_interrupt, run_as_module

if run_as_module():  # python -m search.choice.select: this package comes first, the libraries after it
    leave_at_interrupt()

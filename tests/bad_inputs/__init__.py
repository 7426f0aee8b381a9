"""What a user may get wrong, as tables: `values` on the command line, `data`, and the files of each kind.

A row is a `Bad`: what is wrong, the command, its arguments, words of the one line that it must say, and what is done to
the files beforehand. `tests/test_bad_inputs.py` tries each. Add rows to the table that they belong to.
"""

"""`plm-supernet doctor`: what can be known before hours are spent."""

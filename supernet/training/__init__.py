"""Stage one itself, the only room that knows a gradient. It imports every room, and `artifact`."""

"""Stage one itself: epochs, steps, gradients, checkpoints. May import every other room, and `artifact`."""

"""Stage one itself: epochs, steps, gradients, checkpoints. It imports every other room, and `artifact`."""

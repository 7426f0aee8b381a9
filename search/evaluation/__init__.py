"""What a sub-network is worth: objectives by shared weights, latencies in turns with the full model."""

"""What every room stands on: errors, files, processes, digests, the hub. It imports no other room."""

"""What every room needs: errors, files, processes, digests, the hub. It imports no other room."""

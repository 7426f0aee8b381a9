"""What every room needs: errors, files, processes, digests, the hub. Imports no other room."""

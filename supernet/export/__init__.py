"""Export: a sub-network as a folder that stock tools load."""

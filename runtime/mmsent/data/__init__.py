"""Datasets: pairs, where they are, the layouts a dataset may have, checking and packing."""

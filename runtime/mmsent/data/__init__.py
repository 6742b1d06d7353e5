"""Datasets: pairs, where they lie, the layouts a dataset may have, checking and packing."""

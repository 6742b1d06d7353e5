"""Datasets: pairs, the layouts that mmsent reads, checking and packing."""

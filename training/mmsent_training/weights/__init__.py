"""Pretrained weights: found, fetched and verified before use."""

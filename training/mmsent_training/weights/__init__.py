"""Find, download and verify pretrained weights."""

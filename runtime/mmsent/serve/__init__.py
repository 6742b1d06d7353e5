"""The HTTP service: `mmsent serve`. It requires the extra ``mmsent[serve]``."""

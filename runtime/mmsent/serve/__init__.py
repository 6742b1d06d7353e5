"""The HTTP service: `mmsent serve`. Requires the extra ``mmsent[serve]``."""

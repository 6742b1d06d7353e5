"""Which CLIP checkpoint mmsent uses. Training fetches it, the doctor looks for it."""

REPOSITORY = "openai/clip-vit-base-patch32"
REVISION = "c237dc49a33fc61debc9276459120b7eac67e7ef"
"""The commit of its safetensors conversion; the default branch holds only a pickle."""
WEIGHTS = "model.safetensors"
WEIGHTS_SIZE = 605_157_884
"""Of that file, in bytes."""

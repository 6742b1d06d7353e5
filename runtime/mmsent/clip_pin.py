"""The pinned CLIP checkpoint. Training downloads it, the doctor looks for it."""

REPOSITORY = "openai/clip-vit-base-patch32"
REVISION = "c237dc49a33fc61debc9276459120b7eac67e7ef"
"""The commit of its safetensors conversion; the default branch has only a pickle."""
WEIGHTS = "model.safetensors"
WEIGHTS_SIZE = 605_157_884
"""Of that file, in bytes."""
WEIGHTS_SHA256 = "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d"
"""Of that file, as published for the repository's conversions b33cedf and eaee4c8, which have the
same tensors and size."""

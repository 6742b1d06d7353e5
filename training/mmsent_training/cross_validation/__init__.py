"""`mmsent cross-validate`: a model trained and scored on every fold of the training pairs."""

"""Training for mmsent: the models, the training loop, evaluation."""

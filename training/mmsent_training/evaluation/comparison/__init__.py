"""The comparison of models: contenders, scores, and their presentation."""

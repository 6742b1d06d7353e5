"""The run: the folder that a training writes and can resume from."""

"""The run: the folder that training writes and can resume from."""

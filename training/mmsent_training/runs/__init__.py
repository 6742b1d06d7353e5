"""The run: the folder that one training writes, and what lets it resume."""

"""The models. README.md says how to add one."""

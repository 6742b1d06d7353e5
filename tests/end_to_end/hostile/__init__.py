"""Bad input: each case gives one message that names it, no traceback, and nothing is written.

A case damages one file in a small dataset, bundle or run, and runs the command that reads it.
"""

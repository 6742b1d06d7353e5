"""Bad input, a case each: one message that names it, no traceback, nothing written.

A case is one spoiled file in a small dataset, bundle or run, given to the command that reads it.
"""

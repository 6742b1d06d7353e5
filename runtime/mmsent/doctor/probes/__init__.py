"""What runs in child processes: each module's ``probe`` imports a library and tells what it sees.

A probe judges nothing, and tells what it begins before it begins it: if the library takes the
process down, that was the last word.
"""

"""The operating system: files, locks, signals, progress, cores."""

"""What touches the system: files, locks, signals, progress, cores."""

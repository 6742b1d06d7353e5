"""Models side by side: what is compared, the numbers, and how they are shown."""

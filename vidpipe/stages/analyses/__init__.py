"""The optional analyses: one file each, their results, and what an analysis declares."""

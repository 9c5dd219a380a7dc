"""Watched lists: what a file says today against what was known of it. Files in, differences out."""

"""Queries: how current videos are, what may be started, search, everything about a video, and exports."""

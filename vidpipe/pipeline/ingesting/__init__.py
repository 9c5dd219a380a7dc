"""Watched lists and the job ingest: from a line to a source, from a source to a run that takes it in."""

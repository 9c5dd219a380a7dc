"""Figures of the library and of Dagster: the page /metrics, `vidpipe stats`, `vidpipe status --watch`. Reads only."""

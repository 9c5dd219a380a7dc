"""Fetchers: one per kind of URL, behind the interface of `vidpipe.sources.fetchers.fetcher`."""

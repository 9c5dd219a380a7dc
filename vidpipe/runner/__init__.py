"""The one loop over videos and stages: what is due, leases, workers, commits.

It knows MongoDB only through the library, and Dagster not at all: whoever watches a run is an `Observer`.
"""

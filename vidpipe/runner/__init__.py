"""The one loop over videos and stages: what is due, leases, workers, commits; and what a run would do and cost.

It accesses MongoDB through the library only and does not know Dagster: whoever watches a run is an `Observer`.
"""

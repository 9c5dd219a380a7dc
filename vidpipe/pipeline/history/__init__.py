"""Dagster's own history, made smaller without losing what its page shows of each partition.

Dagster keeps everything for ever: `delete_run` would take the materialisations with it by which partitions are green.
So here the events that nothing goes by any more are deleted one by one. All of it goes through Dagster's own tables.

How Dagster 1.13 derives a partition's state: green by any materialisation of (asset, partition); red where the latest
ASSET_MATERIALIZATION_PLANNED is later than the latest materialisation and the run it names has failed; in progress
where that run is not finished. A run whose record is gone makes nothing red. Hence: of each (asset, type, partition)
the latest event stays, and so does each run that makes a partition red.
"""

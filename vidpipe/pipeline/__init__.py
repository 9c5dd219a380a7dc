"""Dagster: launch, backfill, watch, history, the graph. Each video's truth stays in MongoDB.

The way of a run: definitions.py gathers what assets.py, jobs.py and checks.py declare; execution.py runs the Runner
inside an op; events.py writes what it did into Dagster's event log. launch.py runs jobs in the caller's own process
(the `vidpipe` command); instance.py holds the Dagster instance of a home.
"""

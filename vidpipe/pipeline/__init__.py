"""Dagster: assets, jobs, sensors, resources, history. Each video's state stays in MongoDB.

The way of a run: definitions.py gathers what assets.py, jobs.py and checks.py declare; execution.py runs the Runner
inside an op; event_reporting.py writes what it did into Dagster's event log. in_process_run.py runs jobs in the process
of the `vidpipe` command, whose work begins while Dagster is being loaded (started_work.py); instance.py holds the
Dagster instance of a home.
"""

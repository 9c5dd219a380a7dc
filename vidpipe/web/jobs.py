"""Work that a request starts, in processes of its own: adding, running, asking, removing.

A process (`vidpipe.pipeline.job_process`) reads its request as one JSON line from stdin, writes events as JSON lines to
stdout, and stops cleanly when stdin ends: if it is cancelled, or if the server is gone.
"""

"""What of Dagster's and the library's history is worth an alert, what waits to be told, and the telling."""

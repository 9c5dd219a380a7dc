"""The servers of a home: start, supervision, status and stop."""

"""Metrics for Prometheus (`/metrics`) and statistics for people (`vidpipe stats`)."""

"""Keeping a home running: services, alerts, retention, backups and metrics."""

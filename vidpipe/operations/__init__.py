"""Operating a home: alerts, retention, backups, metrics and services."""

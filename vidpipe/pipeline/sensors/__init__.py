"""Sensors and schedules, one subject per file. Each decision is a plain function, tested without Dagster."""

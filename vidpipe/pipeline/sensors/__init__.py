"""What starts by itself. One file a sensor; what it decides is a plain function, tested without Dagster."""

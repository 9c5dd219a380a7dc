"""Alerts about failed runs: messages, delivery by webhook and e-mail, quiet times, and what waits in MongoDB."""

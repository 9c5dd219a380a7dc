"""The REST API: one router per subject."""

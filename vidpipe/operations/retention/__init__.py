"""What is old enough to delete. Each task can count what it would delete before it deletes anything."""

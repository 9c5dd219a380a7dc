"""What is old enough to go: one file a kind. Each says how much it would delete before it deletes anything."""

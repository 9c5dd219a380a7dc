"""What a run would do before it does it: what is due, what that takes by the rates measured here, and what it costs."""

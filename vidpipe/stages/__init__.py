"""The stages: each is a declaration and a function from a video to a typed result."""

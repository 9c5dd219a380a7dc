"""The forms of answers: what a model is instructed to answer, and how its text is parsed and checked."""

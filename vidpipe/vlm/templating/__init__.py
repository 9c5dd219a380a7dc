"""Prompts out of templates: read from rules/prompts/ and checked (templates.py, template_check.py), given what is known
of a video with strangers' texts cleaned (shown.py), made into the prompts of a run (rendered.py)."""

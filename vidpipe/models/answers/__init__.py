"""The forms that answers are asked for in (forms.py), and how a model's text is read as one: words and numbers
(short_answers.py), JSON objects (object_answers.py, json_answers.py)."""

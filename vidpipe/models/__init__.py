"""The describing model behind one interface: frames and prompts in, texts out, in batches.

describing_model.py (the interface), questions.py and templates.py (what prompts are made from), prompts.py (what the
model is asked), answer_forms.py and object_answers.py (how answers are parsed), statistics.py (the backend that needs
no model), qwen/ (Qwen2-VL in this process), endpoint/ (a model behind a server), builders.py (model and prompts for
the settings).
"""

"""The describing model behind one interface: frames and prompts in, texts out, in batches.

model.py (the interface); views.py (what prompts see of a video), templating/ and questions.py (what prompts are made
of), prompts.py (what is asked), answers/ (the forms that it is answered in), cells.py (what an answer depends on);
statistics.py (the describer that needs no model), wording.py (its words), qwen/ (Qwen2-VL in this process), endpoint/
(a model behind a server), build.py (the one that the settings name); plain_text.py (strangers' words made harmless).
"""

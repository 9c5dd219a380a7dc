"""The describing model behind one interface: frames and prompts in, texts out, in batches.

model.py (the interface), prompts.py (what is asked), cells.py (what an answer depends on), statistics.py (the describer
that needs no model), wording.py (its words), qwen/ (Qwen2-VL in this process), endpoint/ (a model behind a server),
build.py (the one that the settings name).
"""

"""Qwen2-VL in this process: batches of scenes, and one prefill of the frames for all prompts about them.

checkpoint.py (which weights, and their version), loading.py (into memory, once a process), frames.py (JPEGs under a
pixel and token budget), inputs.py (token ids and pixels of a request), prefix.py (the shared prefill, and answers from
it), batches.py (filled by tokens, halved when memory runs out), backend.py (the describing model). Importing
backend.py imports no torch.
"""

"""The backend `qwen`: Qwen2-VL in this process, with one prefill of the frames for all prompts about them.

checkpoint.py (which weights, and their version), loading.py (into memory, once per process), inputs.py (frames within a
pixel and token budget, token ids), prefill.py (the shared prefill and the answers from it), backend.py (the describing
model: batches filled by tokens, halved when memory runs out). Importing backend.py imports no torch.
"""

"""The backend `endpoint`: a model behind an OpenAI-compatible server, or a PAI-EAS deployment with its own API.

address.py (server and key), messages.py (frames, prompts and answers as the server has them), client.py (the `openai`
client with retries over a guarded transport), errors.py (what can go wrong, in sentences), scheduler.py (the order of
prompts), backend.py (the describing model).
"""

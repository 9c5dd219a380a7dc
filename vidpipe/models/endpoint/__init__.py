"""The backend `endpoint`: a model behind an OpenAI-compatible server, or a PAI-EAS deployment with its own API.

address.py (server and key), payload.py (frames and prompts as the server takes them), transport.py (limits, and where
the key may go), client.py (the `openai` client with retries), errors.py (what can go wrong, in sentences),
response_parsing.py, scheduler.py (the order of prompts), backend.py (the describing model).
"""

"""The describing model behind an OpenAI-compatible server, or behind a PAI-EAS deployment in its plain form.

address.py (where it is, and the key), payload.py (frames and prompts as the server takes them), reading.py (what it
says), faults.py (what goes wrong, in sentences), connection.py (one connection, with a time limit on the whole),
client.py (attempts), rounds.py (which prompt is asked when), model.py (the describing model).
"""

"""Words and names of natural languages: word forms, canonical names, texts for messages and prompts."""

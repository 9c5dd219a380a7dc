"""Words and names of natural languages: word forms, language codes, phrases for messages."""

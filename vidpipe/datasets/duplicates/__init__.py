"""Near-duplicates: fingerprints of videos, an index of them, and groups of copies."""

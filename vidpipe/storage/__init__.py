"""Where media and frame packs are stored: local folders or object stores, and the local cache of the latter."""

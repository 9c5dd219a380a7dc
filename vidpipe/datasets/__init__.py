"""Datasets: clips, near-duplicates, versions with splits, exports, and the SQL mirror."""

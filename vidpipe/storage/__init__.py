"""Where media files live: the store of videos by hash, files that are still incomplete, and container formats."""

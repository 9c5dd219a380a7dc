"""A URL, a local file or a list of them becomes a stored file with a hash.

The way: sources.py (what the user gave -> requests), addresses.py and connection.py (which machines may be asked),
transfer.py and download.py (bytes over http), s3.py (objects of S3 as URLs), local.py (bytes from this machine),
store.py (the media store), ingest.py (all of it for many sources at once), refetch.py (a lost file from its known
sources).
"""

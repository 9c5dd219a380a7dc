"""From a URL, a local file or a list of them to a stored file with a hash.

In order: `inputs` (what the user gave -> requests), `ingest` (many sources at once), `download` (attempts), `fetchers`
(one attempt over a session of `vidpipe.network`), `local_files` (files of this machine), and `media_store`.
Watched lists: `list_watch` (changes -> records), `due_sources` (records -> requests).
"""

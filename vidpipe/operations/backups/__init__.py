"""Backups of a library in a folder, and restoring a library from one.

    DIR/2026-11-21T05-20-00Z/
        manifest.json            contents, versions, and the hash of each part
        dump/<database>/         every collection as mongodump writes it; `mongorestore --gzip dump` reads it, too
        settings/                config.ini, rules/ and the watched lists, by their paths in the home; without secrets
        media.jsonl.gz           every video's file: path, size, hash
        media/, derived/         the files themselves, if requested

A backup is written under another name (….part) and renamed when it is complete.
"""

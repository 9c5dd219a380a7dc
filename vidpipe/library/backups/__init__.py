"""Back-ups of a library in a folder, and what becomes a library again from it.

    DIR/2026-11-21T05-20-00Z/
        manifest.json            what is in it, of which versions, with the hash of each part
        dump/<database>/         every collection as mongodump writes it: `mongorestore --gzip dump` reads it, too
        settings/                config.ini, rules/ and the watched lists, by their paths in the home; never a secret
        media.jsonl.gz           every video's file: path, size, hash
        media/, derived/         the files themselves, where they are wanted

It is written under another name (….part) and renamed when it is whole.
"""

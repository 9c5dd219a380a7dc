"""Finding videos and moments: the query language, and an index derived from MongoDB that answers it.

query, fields            what is searched for
grammar, quantities      its text form
analysis                 how texts become words
documents                what is indexed of a video
index, catch_up          the index's files; how they follow the library
translation, engine      queries to the index, hits, facets, pages
matching                 where a text matches
saved                    saved searches
"""

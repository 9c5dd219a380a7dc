"""Finding videos and moments: the query language, and an index derived from MongoDB that answers it.

query, fields            what is searched for
grammar, quantities      its text form
analysis                 how texts become words
documents                what is indexed of a video
index, index_files       the index and its files
catch_up                 how it follows the library
translation              queries to the index
engine, pages            answers: facets, orders, pages
vectors                  videos found by meaning
hits, matching           what is shown of a video; where a text matches
spelling                 corrections
completion               of a query that is being written
saved                    saved searches
"""

"""MongoDB: connection, embedded server, documents, commits and queries. `vidpipe.library.library.Library` opens it.

Only this package, its users' queries and `vidpipe.dagster_mongo` use pymongo.
"""

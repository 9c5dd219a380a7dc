"""MongoDB: connection, embedded server, documents, versions, search and export.

Only this room knows pymongo. `Library` is the way in.
"""

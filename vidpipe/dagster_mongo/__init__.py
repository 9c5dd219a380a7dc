"""MongoDB for Dagster: a resource, and an IO manager that stores and loads assets as documents.

It depends on dagster and pymongo only and knows nothing of vidpipe.
"""

from vidpipe.dagster_mongo.io_manager import MissingValueError, MongoDBIOManager
from vidpipe.dagster_mongo.resource import MongoDBResource

__all__ = ["MissingValueError", "MongoDBIOManager", "MongoDBResource"]

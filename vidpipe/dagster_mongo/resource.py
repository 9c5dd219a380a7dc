"""MongoDB as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field
from pymongo import MongoClient
from pymongo.database import Database

Document = dict[str, Any]


class MongoDBResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A MongoDB server and a database on it.

    Example:
        ```python
        MongoDBResource(uri=dg.EnvVar("MONGODB_URI"), database="films")
        ```
    """

    uri: str = Field(description="mongodb:// or mongodb+srv:// address; use dagster.EnvVar for one with a password")
    database: str = Field(description="name of the database")
    timeout_s: float = Field(default=10.0, gt=0, description="seconds to look for the server before giving up")
    tls_ca_file: str = Field(
        default="", description="PEM file of certificates to verify the server; empty: the system's"
    )
    tls_certificate_key_file: str = Field(
        default="", description="PEM file with the client's certificate and key; empty: none"
    )

    @contextmanager
    def get_client(self) -> Iterator[MongoClient[Document]]:
        """Connect to the server; the client is closed on leaving the block. Times are in UTC.

        Raises:
            pymongo.errors.PyMongoError: The address or a TLS file is invalid. An unreachable server raises at the
                first use of the client.
        """
        files = {"tlsCAFile": self.tls_ca_file, "tlsCertificateKeyFile": self.tls_certificate_key_file}
        given: dict[str, Any] = {name: path for name, path in files.items() if path}
        if given:
            given["tls"] = True
        client: MongoClient[Document] = MongoClient(
            self.uri, serverSelectionTimeoutMS=round(1000 * self.timeout_s), tz_aware=True, **given
        )
        with client:
            yield client

    @contextmanager
    def get_database(self) -> Iterator[Database[Document]]:
        """Open the database, as in `get_client`."""
        with self.get_client() as client:
            yield client[self.database]

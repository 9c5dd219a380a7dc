"""An IO manager that stores an asset's partitions as documents of MongoDB, and loads documents as inputs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from vidpipe.dagster_mongo.resource import MongoDBResource

#: Stored as the partition of an asset without partitions.
_WHOLE = ""


class MissingValueError(LookupError):
    """An asset, or one of its partitions, has no stored value."""


class MongoDBIOManager(dg.ConfigurableIOManager):
    """Stores and loads assets in MongoDB.

    The value of an asset's partition is one document `{"_id": {"asset": ..., "partition": ...}, "value": ...}` in
    `collection`. It has to be storable in MongoDB (plain values, lists, dicts, dates); a pydantic model is stored as a
    dict, and loaded as one.

    `sources` makes assets loadable that something else stores: one document per partition whose `_id` is the partition
    key. Subclasses load from elsewhere by overriding `load_partitions`.

    An input gets the value of its partition, or a dict partition key -> value if it is mapped to several.
    """

    mongodb: dg.ResourceDependency[MongoDBResource]
    collection: str = Field(default="assets", description="collection in which values are stored")
    sources: dict[str, str] = Field(
        default_factory=dict,
        description="asset -> collection, or collection/field, whose documents have partition keys as their _id; "
        "these assets are loaded from there and cannot be stored",
    )

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store the value of an asset; of a run over several partitions, `obj` maps partition key to value.

        Raises:
            dagster.DagsterInvariantViolationError: The asset is one of `sources`, or `obj` is not such a mapping.
        """
        asset = context.asset_key.to_user_string()
        if asset in self.sources:
            raise dg.DagsterInvariantViolationError(
                f"The asset {asset} is stored by its own code in {self.sources[asset]}; this IO manager only loads it."
            )
        keys: Sequence[str] = context.asset_partition_keys if context.has_asset_partitions else [_WHOLE]
        if len(keys) == 1:
            values: Mapping[str, Any] = {keys[0]: obj}
        elif isinstance(obj, Mapping) and set(obj) == set(keys):
            values = obj
        else:
            raise dg.DagsterInvariantViolationError(
                f"The asset {asset} has to return a dict with a value for each of its {len(keys)} partitions."
            )
        with self.mongodb.get_database() as database:
            for key, value in values.items():
                document = {"value": _plain(value), "run": context.run_id, "stored_at": datetime.now(UTC)}
                database[self.collection].replace_one(
                    {"_id": {"asset": asset, "partition": key}}, document, upsert=True
                )
        context.add_output_metadata({"collection": self.collection, "documents": len(values)})

    def load_input(self, context: dg.InputContext) -> Any:
        """Load the value of an asset for an input.

        Raises:
            MissingValueError: A partition has no value.
        """
        asset = context.asset_key.to_user_string()
        keys: Sequence[str] = context.asset_partition_keys if context.has_asset_partitions else [_WHOLE]
        values = self.load_partitions(asset, keys)
        missing = [key for key in keys if key not in values]
        if missing:
            of = f"partition {missing[0]} of " if missing[0] else ""
            more = f" (and {len(missing) - 1} more partitions)" if len(missing) > 1 else ""
            raise MissingValueError(f"There is no value for {of}the asset {asset}{more}. Materialize it first.")
        return values[keys[0]] if len(keys) == 1 else {key: values[key] for key in keys}

    def load_partitions(self, asset: str, partitions: Sequence[str]) -> Mapping[str, Any]:
        """Return partition key -> value of those of `partitions` that are stored. An asset without any has key ""."""
        with self.mongodb.get_database() as database:
            if asset in self.sources:
                collection, _, field = self.sources[asset].partition("/")
                found = database[collection].find({"_id": {"$in": list(partitions)}})
                return {row["_id"]: row[field] if field else row for row in found if not field or field in row}
            ids = [{"asset": asset, "partition": key} for key in partitions]
            stored = database[self.collection].find({"_id": {"$in": ids}})
            return {row["_id"]["partition"]: row["value"] for row in stored}


def _plain(value: Any) -> Any:
    """Return `value` with pydantic models as dicts."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(entry) for entry in value]
    return value

"""The IO manager for MongoDB on a real server: what is stored is loaded, and what is missing is named."""

import uuid
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from pydantic import BaseModel

from vidpipe.dagster_mongo import MissingValueError, MongoDBIOManager, MongoDBResource
from vidpipe.settings import Settings

FILMS = dg.StaticPartitionsDefinition(["a", "b"])


class Price(BaseModel):
    euros: float


@pytest.fixture
def mongodb(settings: Settings) -> Iterator[MongoDBResource]:
    resource = MongoDBResource(uri=settings.mongodb.uri.get_secret_value(), database=f"test_{uuid.uuid4().hex[:16]}")
    yield resource
    with resource.get_client() as client:
        client.drop_database(resource.database)


@dg.asset(partitions_def=FILMS)
def price(context: dg.AssetExecutionContext) -> Any:
    prices = {key: Price(euros=len(key)) for key in context.partition_keys}
    return prices if len(prices) > 1 else prices[context.partition_key]


@dg.asset(partitions_def=FILMS)
def label(price: dict[str, float], stars: int) -> str:
    return f"{price['euros']} {stars}"


@dg.asset
def total(price: dict[str, dict[str, float]]) -> float:
    return sum(one["euros"] for one in price.values())


#: Stored by somebody else.
stars = dg.AssetSpec("stars", partitions_def=FILMS)


def definitions(mongodb: MongoDBResource) -> dg.Definitions:
    manager = MongoDBIOManager(mongodb=mongodb, sources={"stars": "reviews/stars"})
    return dg.Definitions([price, label, total, stars], resources={"io_manager": manager})


def test_partitions_are_documents_and_inputs(mongodb: MongoDBResource) -> None:
    with mongodb.get_database() as database:
        database["reviews"].insert_many([{"_id": "a", "stars": 5}, {"_id": "b"}])
    defs = definitions(mongodb)
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for key in ("a", "b"):
            job.execute_in_process(instance=instance, partition_key=key, asset_selection=[price.key])
        job.execute_in_process(instance=instance, partition_key="a", asset_selection=[label.key])
        job.execute_in_process(instance=instance, asset_selection=[total.key])
        assert defs.load_asset_value("label", partition_key="a", instance=instance) == "1.0 5"
        assert defs.load_asset_value("total", instance=instance) == 2.0
        assert defs.load_asset_value("stars", partition_key="a", instance=instance) == 5
        with pytest.raises(MissingValueError, match="no value for partition b of the asset stars"):
            defs.load_asset_value("stars", partition_key="b", instance=instance)
    with mongodb.get_database() as database:
        document = database["assets"].find_one({"_id": {"asset": "price", "partition": "b"}})
    assert document is not None
    assert document["value"] == {"euros": 1.0}


def test_what_something_else_stores_cannot_be_stored(mongodb: MongoDBResource) -> None:
    manager = MongoDBIOManager(mongodb=mongodb, sources={"price": "shop"})
    with pytest.raises(dg.DagsterInvariantViolationError, match="price is stored by its own code in shop"):
        dg.materialize([price], partition_key="a", resources={"io_manager": manager})

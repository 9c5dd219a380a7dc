"""The boto3 client of S3, for sources and for stores.

boto3 finds credentials, region and endpoint in its usual places: environment, profile, instance role.
"""

import logging
from typing import Any
from urllib.parse import urlsplit

from vidpipe.errors import UnavailableError
from vidpipe.network.session import authorities
from vidpipe.settings.operation import Download

#: What decides which storage is used, and with which credentials.
ACCESS = tuple(
    f"variable:AWS_{name}"
    for name in ("PROFILE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "DEFAULT_REGION", "ENDPOINT_URL_S3")
)
#: Services that accept a bucket in the host name only.
_VIRTUAL_HOSTS = (".aliyuncs.com", ".myqcloud.com")

for _name in ("botocore", "boto3"):  # at DEBUG they write signatures into the log
    logging.getLogger(_name).setLevel(logging.INFO)


def s3_client(limits: Download, region: str | None = None) -> tuple[Any, bool]:
    """Return a client, which threads may share, and whether credentials were found.

    Args:
        limits: Timeouts, retries and proxy.
        region: Of the bucket; None: that of the environment.

    Raises:
        UnavailableError: boto3 is not installed, or the environment's access to S3 is not usable.
    """
    try:
        import boto3.session
        import botocore
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UnavailableError.without_package("s3:// URLs need", error, extra="s3") from None
    try:
        session = boto3.session.Session()
        signed = session.get_credentials() is not None
        config = Config(
            signature_version="s3v4" if signed else botocore.UNSIGNED,
            connect_timeout=limits.connect_timeout,
            read_timeout=limits.read_timeout,
            max_pool_connections=50,
            retries={"total_max_attempts": limits.retries + 1, "mode": "standard"},
            proxies=None if limits.use_proxy else {},  # None: those of the environment
        )
        verify = authorities() or None
        client = session.client("s3", region_name=region, verify=verify, config=config)
        if (urlsplit(client.meta.endpoint_url).hostname or "").endswith(_VIRTUAL_HOSTS):
            config = config.merge(Config(s3={"addressing_style": "virtual"}))
            client = session.client("s3", region_name=region, verify=verify, config=config)
    except (BotoCoreError, ValueError) as error:
        raise no_access(error) from error
    return client, signed


def no_access(error: Exception) -> UnavailableError:
    """Return the error for an environment that gives no usable access to S3."""
    return UnavailableError(
        f"The access to S3 configured in the environment is not usable: {error}.".replace("..", "."),
        "Check AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_S3.",
        depends_on=ACCESS,
    )

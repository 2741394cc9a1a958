"""A quick check that a model store can be reached; MLflow by itself retries for minutes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sendopt.errors import ConfigError, InputNotReady

SQLITE = "sqlite:///"
SQL = ("sqlite", "postgresql", "mysql", "mssql")
CONNECT_SECONDS = 10  # time that a database server has to answer
# Settings of MLflow where the environment has none: by default it retries for over four minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_TIMEOUTS = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "mssql": "timeout"}


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turn errors of a block that reads the store at `uri` into errors of this package.

    Raises ConfigError where `uri` names no possible store, and InputNotReady where the store, or a file in it, cannot
    be read.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        _require_database(uri)
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"mlflow.tracking_uri {without_password(uri)} is no store: {sentence(error)}") from None
    except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
        if "unsupported URI" in str(error):
            raise ConfigError(
                f"mlflow.tracking_uri {without_password(uri)} is no store that MLflow knows; expected sqlite:///FILE, "
                "postgresql://…, or http(s)://HOST of a server"
            ) from None
        raise InputNotReady(
            f"the model registry at {without_password(uri)} cannot be read: {sentence(error)}; start it, or correct "
            "mlflow.tracking_uri"
        ) from None


def _require_database(uri: str) -> None:
    """Connect once to a store that is a database; a missing driver raises ModuleNotFoundError, which names it."""
    dialect = uri.partition(":")[0].partition("+")[0]
    if dialect not in SQL or (uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists()):
        return
    import sqlalchemy

    timeout = _TIMEOUTS.get(dialect)
    engine = sqlalchemy.create_engine(uri, connect_args={timeout: CONNECT_SECONDS} if timeout else {})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA schema_version" if dialect == "sqlite" else "SELECT 1")
    finally:
        engine.dispose()


def be_patient() -> None:
    """Set MLflow's retries and timeout, except where the environment has them."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


def sentence(error: Exception) -> str:
    """Return the first line of an error, without a password."""
    lines = str(error).strip().splitlines()
    return without_password(lines[0][:200] if lines else type(error).__name__)


def without_password(text: str) -> str:
    """Return the text without user and password in its addresses.

    >>> without_password("postgresql://ann:secret@db/models")
    'postgresql://db/models'
    """
    return re.sub(r"//[^/@\s]*@", "//", text)

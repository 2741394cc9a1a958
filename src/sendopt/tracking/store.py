"""Whether a model store can be reached at all, asked once and at once: MLflow itself tries again for minutes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sendopt.errors import ConfigError, InputNotReady

SQLITE = "sqlite:///"
SQL = ("sqlite", "postgresql", "mysql", "mssql")
CONNECT_SECONDS = 10  # that a database server has to answer
# What MLflow's own settings are, where nobody set them: by default it tries for over four minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_TIMEOUTS = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "mssql": "timeout"}


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """A block that reads the store at `uri`; raises ConfigError where there can be no such store, and InputNotReady
    where the store, or a file that it should hold, cannot be read."""
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
    """Set how long MLflow tries a server, where the environment does not say it."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


def sentence(error: Exception) -> str:
    """The first line of an error, without a password."""
    lines = str(error).strip().splitlines()
    return without_password(lines[0][:200] if lines else type(error).__name__)


def without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)

"""Packages that `pip install sendopt` does not install, and the message that names their extra."""

from __future__ import annotations

EXTRAS = {
    "spark": ("pyspark", "py4j", "delta", "deltalake"),
    "mlflow": ("mlflow", "matplotlib", "sqlalchemy"),
    "airflow": ("airflow",),
}
# Drivers by module name that the address of an MLflow store may need; MLflow installs none of them.
_DRIVERS = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "asyncpg": "asyncpg",
    "pg8000": "pg8000",
    "pymysql": "pymysql",
    "MySQLdb": "mysqlclient",
    "pymssql": "pymssql",
    "pyodbc": "pyodbc",
    "boto3": "boto3",
    "azure": "azure-storage-blob",
    "cx_Oracle": "cx_Oracle",
    "oracledb": "oracledb",
}


def sentence(error: ModuleNotFoundError) -> str | None:
    """Return which package is missing and how to install it; None if it is neither of an extra nor a driver."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return f"this needs {package}, which is not installed here: pip install 'sendopt[{extra}]'"
    if package in _DRIVERS:
        return (
            f"the driver {package} of the store's address is not installed here: pip install {_DRIVERS[package]!r}, or "
            "correct mlflow.tracking_uri"
        )
    return None

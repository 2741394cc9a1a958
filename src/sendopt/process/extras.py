"""What `pip install sendopt` leaves out: the extra that each package belongs to, and the sentence that names it."""

from __future__ import annotations

EXTRAS = {
    "spark": ("pyspark", "py4j", "delta", "deltalake"),
    "mlflow": ("mlflow", "matplotlib", "sqlalchemy"),
    "airflow": ("airflow",),
}
# What a store's address asks for beside MLflow; MLflow installs none of them.
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
    """Which package is missing and how it is installed; None where it is not one that sendopt leaves out."""
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

"""The parts of a table's contract: columns with a type and a check, a key and a partition."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column. `check` is a SQL condition that must not be false (NULL passes where `nullable`).

    `type` is a Spark SQL type: string, int, bigint, double, boolean, timestamp, date, array<string>,
    map<string,double>.
    """

    name: str
    type: str
    nullable: bool = False
    check: str | None = None


@dataclass(frozen=True)
class Table:
    """A table's contract. A write replaces a partition where `partition_by` is set, else it merges rows on `key`."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def __getitem__(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

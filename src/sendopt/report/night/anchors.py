"""The sections of a night's page, in their order."""

from __future__ import annotations

from enum import StrEnum


class Anchor(StrEnum):
    """A section's id in the page."""

    WHEN = "when"
    CAMPAIGNS = "campaigns"
    CAPACITY = "capacity"
    PRICES = "prices"
    SUPPRESSED = "suppressed"
    ARMS = "arms"
    MEASURED = "measured"
    MODEL = "model"
    CERTIFICATE = "certificate"
    QUARANTINE = "quarantine"
    LINEAGE = "lineage"


LINK_TEXTS = {
    Anchor.WHEN: "When",
    Anchor.CAMPAIGNS: "What",
    Anchor.CAPACITY: "Capacity",
    Anchor.PRICES: "Prices",
    Anchor.SUPPRESSED: "Not sent",
    Anchor.ARMS: "Arms",
    Anchor.MEASURED: "Measured",
    Anchor.MODEL: "Model",
    Anchor.CERTIFICATE: "Certificate",
    Anchor.QUARANTINE: "Refused",
    Anchor.LINEAGE: "Lineage",
}

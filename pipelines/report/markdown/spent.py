"""What all of it took: time, memory and disk of every artifact, and the price."""

from collections.abc import Mapping
from typing import Any

from pipelines.report.data.collect import Report
from pipelines.report.markdown.blocks import folded, section, table
from pipelines.report.numbers import duration, size
from pipelines.report.text import name, prose


def resources(report: Report, rest: bool = True) -> str:
    """The sum and, behind a fold, the `rest`: a line an artifact."""
    spent = report["resources"]
    if not spent["rows"]:
        return ""
    peak = max(spent["rows"], key=lambda row: row["peak_bytes"])
    told = [
        f"{duration(spent['total_seconds'])} in all, up to {size(peak['peak_bytes'])} of memory ({name(peak['id'])}), "
        f"{size(sum(row['bytes'] for row in spent['rows']))} on disk.",
        *([_price(spent["cost"])] if spent["cost"] else []),
        "What was found ready counts with what it took when it was made.",
    ]
    heads = ["artifact", "time", "processor time", "peak memory", "on disk"]
    rows = [
        [
            name(row["id"]),
            duration(row["seconds"]),
            duration(row["cpu_seconds"]),
            size(row["peak_bytes"]),
            size(row["bytes"]),
        ]
        for row in spent["rows"]
    ]
    return section("Resources", " ".join(told), folded("By artifact", table(heads, rows)) if rest else "")


def _price(cost: Mapping[str, Any]) -> str:
    currency = prose(cost["currency"])
    return f"At {cost['per_hour']:,.2f} {currency} an hour that is {cost['amount']:,.2f} {currency}."

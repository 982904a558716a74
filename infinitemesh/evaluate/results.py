"""All records of one evaluation with their means: what a table is made of, and how it is written down."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from infinitemesh.errors import InputError
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.pictures import save_sheet
from infinitemesh.evaluate.protocol import Protocol
from infinitemesh.evaluate.records import FAILURES, Failure, Record
from infinitemesh.evaluate.strict import build
from infinitemesh.files import write_json, write_text

LOWER_IS_BETTER = ("chamfer", "lpips")  # beginnings of metric names
RANKED_BY = ("iou", "f@0.05", "f@0.1", "psnr", "chamfer")  # the first of these orders best to worst on the sheet
BOOTSTRAP_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric over the scored objects; `low` and `high` bound the mean (percentile bootstrap, 95 %, seed 0)."""

    mean: float
    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """One protocol run on one system."""

    protocol: Protocol
    system: str
    records: tuple[Record, ...]
    seed: int = 0
    lpips: str | None = None
    version: str = ""  # of this package

    @staticmethod
    def of(protocol: Protocol, system: str, records: Sequence[Record], options: RunOptions) -> "Result":
        from infinitemesh import __version__

        return Result(
            protocol=protocol,
            system=system,
            records=tuple(records),
            seed=options.seed,
            lpips=options.lpips,
            version=__version__,
        )

    @property
    def summaries(self) -> dict[str, Summary]:
        """Every metric that at least one object has, failed objects with their score of nothing included."""
        scored = [record.metrics for record in self.records if record.scored]
        names = list(dict.fromkeys(name for metrics in scored for name in metrics))
        return {name: summarize([m[name] for m in scored if name in m]) for name in names}

    @property
    def per_azimuth(self) -> dict[float, dict[str, float]]:
        """View protocols: means over the objects by azimuth."""
        rows: dict[float, list[Mapping[str, float]]] = {}
        for record in self.records:
            for row in record.per_view:
                rows.setdefault(row["azimuth_deg"], []).append(row)
        return {
            azimuth: {k: float(np.mean([row[k] for row in of])) for k in of[0] if k != "azimuth_deg"}
            for azimuth, of in rows.items()
        }

    @property
    def failures(self) -> dict[str, list[str]]:
        """Failed objects by kind."""
        found: dict[str, list[str]] = {}
        for record in self.records:
            if record.failure is not None:
                found.setdefault(record.failure.kind, []).append(record.object)
        return found

    @property
    def notes(self) -> dict[str, list[str]]:
        """Objects by kind of remark."""
        found: dict[str, list[str]] = {}
        for record in self.records:
            for kind in record.notes:
                found.setdefault(kind, []).append(record.object)
        return found

    @property
    def seconds(self) -> float | None:
        """Of the system, mean over the objects that it made."""
        times = [r.seconds for r in self.records if r.ok and r.seconds]
        return float(np.mean(times)) if times else None

    @property
    def peak_mib(self) -> float | None:
        peaks = [r.peak_mib for r in self.records if r.ok and r.peak_mib]
        return float(np.max(peaks)) if peaks else None

    def ranked(self) -> list[Record]:
        """Scored records, best first."""
        by = next((name for name in RANKED_BY if name in self.summaries), None)
        scored = [record for record in self.records if record.scored and by in record.metrics]
        return scored if by is None else sorted(scored, key=lambda r: r.metrics[by], reverse=not lower_is_better(by))

    def as_dict(self) -> dict[str, Any]:
        return {
            "protocol": self.protocol.as_dict(),
            "protocol_sha256": self.protocol.sha256,
            "system": self.system,
            "version": self.version,
            "seed": self.seed,
            "lpips": self.lpips,
            "summaries": {name: asdict(summary) for name, summary in self.summaries.items()},
            "per_azimuth": {f"{azimuth:g}": means for azimuth, means in self.per_azimuth.items()},
            "health": self.health(),
            "failures": self.failures,
            "notes": self.notes,
            "seconds": self.seconds,
            "peak_mib": self.peak_mib,
            "records": [asdict(record) for record in self.records],
        }

    def health(self) -> dict[str, float]:
        """Shares of closed and manifold meshes, and the median number of faces and components."""
        reports = [record.health for record in self.records if record.ok and record.health]
        if not reports:
            return {}
        means = {name: float(np.mean([r[name] for r in reports])) for name in ("watertight", "manifold")}
        return means | {name: float(np.median([r[name] for r in reports])) for name in ("faces", "components")}


def summarize(values: Sequence[float], *, seed: int = 0) -> Summary:
    array = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(array), (BOOTSTRAP_DRAWS, len(array)))
    low, high = np.percentile(array[draws].mean(1), [2.5, 97.5])
    return Summary(
        mean=float(array.mean()), median=float(np.median(array)), low=float(low), high=float(high), count=len(array)
    )


def lower_is_better(metric: str) -> bool:
    return metric.startswith(LOWER_IS_BETTER)


def write_result(result: Result, out: Path) -> None:
    """result.json, objects.csv, table.md, table.tex and sheet.png."""
    from infinitemesh.evaluate.tables import latex_table, markdown_report

    write_json(out / "result.json", result.as_dict(), overwrite=True)
    write_text(out / "objects.csv", _csv(result), overwrite=True)
    write_text(out / "table.md", markdown_report([result]), overwrite=True)
    write_text(out / "table.tex", latex_table([result]), overwrite=True)
    ranked = result.ranked()
    if ranked:
        places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
        save_sheet(out, [(f"{place}: {_caption(ranked[k])}", ranked[k].object) for place, k in places.items()])


def read_result(folder: str | Path) -> Result:
    """What `write_result` wrote into a folder."""
    path = Path(folder) / "result.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        records = [
            replace(Record(**{**stored, "failure": None}), failure=stored["failure"] and Failure(**stored["failure"]))
            for stored in values["records"]
        ]
        protocol = build(Protocol, values["protocol"], str(path))
        return Result(
            protocol=protocol,
            system=values["system"],
            records=tuple(records),
            seed=values["seed"],
            lpips=values["lpips"],
            version=values["version"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the result of an evaluation by this version: {error}") from error


def describe_failures(result: Result) -> list[str]:
    """One sentence a kind of failure or remark, with the names."""
    lines = [
        f"{len(names)} of {len(result.records)} failed ({kind}: {FAILURES[kind]}): {', '.join(names)}"
        for kind, names in result.failures.items()
    ]
    return lines + [f"{kind}: {', '.join(names)}" for kind, names in result.notes.items()]


def _caption(record: Record) -> str:
    shown = [f"{k} {v:.3f}" for k, v in record.metrics.items() if k in ("iou", "f@0.05", "chamfer", "psnr", "ssim")]
    return f"{record.object}  {'  '.join(shown)}" + ("" if record.ok else "  (failed)")


def _csv(result: Result) -> str:
    columns = list(result.summaries)
    health = ("faces", "components", "watertight", "manifold")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["object", *columns, *health, "seconds", "peak_mib", "failure", "message", "notes"])
    for record in result.records:
        failure = record.failure or Failure(kind="", message="")
        writer.writerow(
            [
                record.object,
                *(repr(record.metrics[name]) if name in record.metrics else "" for name in columns),
                *(record.health.get(name, "") for name in health),
                "" if record.seconds is None else f"{record.seconds:.3f}",
                "" if record.peak_mib is None else f"{record.peak_mib:.0f}",
                failure.kind,
                failure.message,
                "; ".join(f"{kind}: {words}" for kind, words in record.notes.items()),
            ]
        )
    return text.getvalue()

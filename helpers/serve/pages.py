"""What the HTTP server says of itself: a page for people, and counters for Prometheus."""

from __future__ import annotations

import itertools
import math
import time
from datetime import datetime
from html import escape

from helpers import __version__
from helpers.serve.jobs import Job, Jobs
from helpers.serve.service import Service
from helpers.serve.trained_models import TrainedModels

_JOBS_SHOWN = 20
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Volltrack server</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{text-align:left;padding:.2rem 1.2rem .2rem 0;border-bottom:1px solid #ccc}}
progress{{width:16rem}}</style></head><body>
<h1>Volltrack {version}</h1>
<p>{now}</p>
<p>{running} running, {waiting} waiting. Up since {since}.</p>
<h2>Trained models</h2>
{models}
<h2>Jobs</h2>
{jobs}
<h2>Requests</h2>
{requests}
</body></html>
"""


def status_page(service: Service, models: TrainedModels, jobs: Jobs) -> str:
    """Return the page in HTML; it loads nothing from elsewhere."""
    progress = models.progress
    now = "No training is going on."
    if progress is not None:
        loss = "" if math.isnan(progress.loss) else f", loss {progress.loss:.4g}"
        now = (
            f"Training {escape(progress.model)}: <progress value='{progress.fraction:.3f}'></progress> "
            f"{100 * progress.fraction:.0f} %{loss}"
        )
    trained = [
        (
            m.network,
            m.name,
            m.version,
            str(m.epochs),
            _number(m.loss),
            _number(m.validation_loss),
            _time(m.made),
        )
        for m in models
    ]
    ordered = [
        (job.id, job.order.kind, f"{job.order.network} {job.order.model}", _state(job), job.error)
        for job in itertools.islice(jobs, _JOBS_SHOWN)
    ]
    requests = sorted(
        (str(key[0]), str(key[1]), str(count))
        for key, count in list(service.counts.items())
        if isinstance(key, tuple)
    )
    return _PAGE.format(
        version=escape(__version__),
        now=now,
        running=service.device.inside,
        waiting=service.device.waiting,
        since=_time(service.started),
        models=_table(
            ("network", "name", "version", "epochs", "loss", "validation loss", "trained"), trained
        ),
        jobs=_table(("job", "kind", "model", "state", ""), ordered),
        requests=_table(("call", "outcome", "count"), requests),
    )


def metrics(service: Service, models: TrainedModels) -> str:
    """Return the counters in Prometheus's text format."""
    lines = ["# TYPE volltrack_requests_total counter"]
    counts = list(service.counts.items())
    for key, count in counts:
        if isinstance(key, tuple):
            lines.append(f'volltrack_requests_total{{method="{key[0]}",outcome="{key[1]}"}} {count}')
    for key, count in counts:
        if isinstance(key, str):
            lines += [f"# TYPE volltrack_{key}_total counter", f"volltrack_{key}_total {count:g}"]
    gauges = {
        "waiting": service.device.waiting,
        "running": service.device.inside,
        "models": len(list(models)),
        "training_fraction": 0.0 if models.progress is None else models.progress.fraction,
        "uptime_seconds": time.time() - service.started,
    }
    for name, value in gauges.items():
        lines += [f"# TYPE volltrack_{name} gauge", f"volltrack_{name} {value:g}"]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "<p>None yet.</p>"
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{name}</th>" for name in head) + f"</tr>{body}</table>"


def _state(job: Job) -> str:
    if job.state == "waiting":
        return f"waiting, {job.position} before it"
    if job.state == "running" and job.order.kind == "train":
        return f"running, {100 * job.fraction:.0f} %"
    return job.state


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")

"""The tables of benches/README.md, between two markers."""

import datetime
import os
import platform
import statistics
from pathlib import Path

BEGIN = "<!-- benches/peers: from here on written by `make bench` -->"
END = "<!-- benches/peers: up to here -->"

HTTP1, HAPROXY, NGINX, BEST = "128 bytes", "HAProxy HS256", "nginx", "`pingora-proxy`, best"


class Results:
    """The median of each figure, and ratios of them."""

    def __init__(self, results: dict[str, dict[str, list[float]]]):
        self.rounds = results

    def __call__(self, shape: str, column: str) -> float | None:
        figures = self.rounds.get(shape, {}).get(column)
        return statistics.median(figures) if figures else None

    def ratio(self, shape: str, column: str, other: str) -> float | None:
        figure, base = self(shape, column), self(shape, other)
        return figure / base if figure is not None and base else None


def targets(of: Results) -> list[tuple[str, float | None, float]]:
    """What each target names, what was measured, and the most it may be."""
    tokens = "1,000,000 tokens"
    # The second decimal is of connections that are opened and of reads that find nothing yet.
    calls = {kind: of(f"system calls: {kind}", "Menshen") for kind in ("sends", "receives", "other")}
    calls = {kind: None if count is None else round(count, 1) for kind, count in calls.items()}
    es256 = of("128 bytes, ES256", "Menshen, ES256"), of("128 bytes, ES256", "HAProxy ES256")
    p99 = "half the peak rate: p99 (µs)"
    return [
        ("instructions a request", of("instructions", "Menshen"), 62_000),
        ("the same with the access line", of("instructions", "Menshen, access line"), 72_000),
        ("protected route / HAProxy HS256", of.ratio(HTTP1, "Menshen", HAPROXY), 1.0),
        ("protected route / HAProxy ES256", es256[0] / es256[1] if all(es256) else None, 0.22),
        ("protected route / `pingora-proxy`, best settings", of.ratio(HTTP1, "Menshen", BEST), 1.0),
        ("protected route / nginx passing through", of.ratio(HTTP1, "Menshen", NGINX), 1.35),
        ("protected route / public route", of.ratio("128 bytes, the check", "Menshen", "Menshen, public route"), 1.03),
        ("with the access line / without", of.ratio(HTTP1, "Menshen, access line", "Menshen"), 1.08),
        ("HTTP/2 over TLS, 128 bytes / nginx", of.ratio("128 bytes, HTTP/2", "Menshen, TLS", NGINX), 1.6),
        ("16 KiB / nginx", of.ratio("16 KiB", "Menshen", NGINX), 1.4),
        ("sends of a small request", calls["sends"], 2),
        ("receives", calls["receives"], 2),
        ("other system calls", calls["other"], 1),
        ("1,000,000 tokens in turn / one of them", of.ratio(tokens, "in turn, verified before", "one of them"), 1.25),
        ("memory with 1,000,000 tokens (MB)", of("memory (MB)", f"with {tokens}"), 400),
        ("2 threads / 1 thread", of.ratio("128 bytes, threads", "Menshen, 2 threads", "Menshen"), 1.05),
        ("p99 at half the peak rate / HAProxy HS256", of.ratio(p99, "Menshen", HAPROXY), 1.1),
        ("idle keep-alive connection (KB)", of("idle connection (KB)", "Menshen"), 5),
        ("download of 64 MiB / nginx", of.ratio("download of 64 MiB (ms)", "Menshen", NGINX), 0.55),
    ]


def figure(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> str:
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}"


def tables(results: dict[str, dict[str, list[float]]], command: str) -> str:
    of = Results(results)
    load = " ".join(f"{part:.1f}" for part in os.getloadavg())
    lines = [
        f"Measured {datetime.date.today().isoformat()} by `{command}` on {machine()}; load {load} at the end.",
        "",
        "| target | figure | at most | |",
        "|---|---|---|---|",
    ]
    for name, value, most in targets(of):
        if value is not None:
            missed = value > most
            shown = figure(value)
            if missed and float(shown.replace(",", "")) <= most:
                shown = f"{value:.3f}"
            lines.append(f"| {name} | {shown} | {figure(most)} | {'missed' if missed else ''} |")
    for shape, columns in results.items():
        if ": requests/s" in shape:
            continue
        counted = ("instructions", "system calls", "memory", "idle", "half", "download", "upload")
        unit = "" if shape.startswith(counted) else " (CPU µs)"
        rates = results.get(f"{shape}: requests/s")
        lines += ["", f"| {shape}{unit} | median | lowest to highest |{' a second |' if rates else ''}"]
        lines.append(f"|---|---|---|{'---|' if rates else ''}")
        for column, figures in columns.items():
            spread = f"{figure(min(figures))} to {figure(max(figures))}" if len(figures) > 1 else ""
            rate = f" {figure(of(f'{shape}: requests/s', column))} |" if rates else ""
            lines.append(f"| {column} | {figure(of(shape, column))} | {spread} |{rate}")
    return "\n".join(lines)


def write(readme: Path, text: str) -> None:
    before, _, rest = readme.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise RuntimeError(f"{readme} has no markers")
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")

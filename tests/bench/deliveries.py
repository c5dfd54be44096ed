"""Deliveries through HTTP with signature, commit and answer, beside a bare Starlette route that does the least.

The peer checks one HMAC and inserts the body into a table of one index, committed, with a prepared statement on a
connection of its own. Both run as processes on the same PostgreSQL; the same client sends the same bodies. Rates are by
wall clock, and CPU is that of the server's process and of PostgreSQL together, so that other load counts less.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from dumacle_cli.local import servers
from dumacle_cli.local.servers import OWNER
from dumacle_cli.services import seed as seeds
from dumacle_cli.store import bootstrap, logins, schema
from dumacle_cli.store.database import Database, Timeouts
from tests.servers import scratch_folder, start_servers, stop_servers
from tests.stripe_double.double import sign

SECRET = "whsec_of_the_bench"
PASSWORD = "of the bench"
TICK = os.sysconf("SC_CLK_TCK")
BARE = """
import asyncio, hashlib, hmac, sys, time
import psycopg, uvicorn
from concurrent.futures import ThreadPoolExecutor
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
url, secret, port = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
pool = ThreadPoolExecutor(4)
free = [psycopg.connect(url, autocommit=True, prepare_threshold=0) for _ in range(4)]

def save(body):
    link = free.pop()
    try:
        link.execute("INSERT INTO bare (body) VALUES (%s)", [body])
    finally:
        free.append(link)

async def receive(request):
    body = await request.body()
    parts = dict(item.split("=", 1) for item in request.headers["stripe-signature"].split(","))
    signed = hmac.new(secret, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signed, parts["v1"]) or abs(time.time() - int(parts["t"])) > 300:
        return PlainTextResponse("refused", 400)
    await asyncio.get_running_loop().run_in_executor(pool, save, body)
    return PlainTextResponse("saved")

print(f"listening on http://127.0.0.1:{port}/", file=sys.stderr, flush=True)
routes = [Route("/webhooks/stripe", receive, methods=["POST"])]
uvicorn.run(Starlette(routes=routes), port=port, log_level="error", access_log=False)
"""


@dataclass(frozen=True)
class Figures:
    """One measurement: deliveries a second by wall clock and by CPU, and latencies in seconds."""

    rate: float
    per_cpu: float
    p50: float
    p99: float


def bodies(number: int, run: str) -> list[bytes]:
    """Return events of about 5 KB, each about a subscription of its own."""
    filling = {f"field_{n}": "x" * 80 for n in range(50)}
    made = []
    for n in range(number):
        found = {"id": f"sub_{run}_{n}", "object": "subscription", **filling}
        event = {"id": f"evt_{run}_{n}", "object": "event", "type": "customer.subscription.updated", "livemode": False}
        made.append(json.dumps(event | {"created": int(time.time()), "data": {"object": found}}).encode())
    return made


async def send(port: int, requests: list[bytes], connections: int, rate: float | None) -> tuple[float, list[float]]:
    """Send all requests, as fast as it goes or at a rate; return the seconds, and each latency."""
    waiting, latencies, began = iter(enumerate(requests)), [], time.monotonic()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, request in waiting:
            due = began + number / rate if rate else time.monotonic()
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            latencies.append(time.monotonic() - due)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return time.monotonic() - began, latencies


def post(body: bytes) -> bytes:
    head = f"POST /webhooks/stripe HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nStripe-Signature: "
    return head.encode() + sign(body, SECRET) + b"\r\n\r\n" + body


def cpu(pids: set[int]) -> float:
    """Return the CPU seconds of these processes so far; those that ended count no more."""
    spent = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        spent += int(fields[11]) + int(fields[12])
    return spent / TICK


def backends(admin_url: str) -> set[int]:
    """Return the processes of PostgreSQL that serve a client, write the log or check points."""
    with psycopg.connect(admin_url) as admin:
        return {pid for (pid,) in admin.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")}


@contextmanager
def serving(command: list[str], env: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Run a server while inside; yields its port and its process."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DUMACLE_")}
    process = subprocess.Popen(command, env=ours | env, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        first = process.stderr.readline()
        port = urlsplit(first.split()[-1]).port
        assert port, first
        for _ in range(100):
            try:
                psycopg.pq  # noqa: B018
                import socket

                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def measure(
    port: int, pid: int, admin_url: str, run: str, number: int, connections: int, rate: float | None
) -> Figures:
    """Warm a server up, send to it, and return what that took."""
    asyncio.run(send(port, [post(body) for body in bodies(200, f"{run}w")], connections, None))
    requests = [post(body) for body in bodies(number, run)]
    database = backends(admin_url)
    before = cpu({pid}), cpu(database)
    seconds, latencies = asyncio.run(send(port, requests, connections, rate))
    server, stored = cpu({pid}) - before[0], cpu(database) - before[1]
    spent = server + stored
    print(f"{run:9} CPU per delivery: {server / number * 1e3:.2f} ms server, {stored / number * 1e3:.2f} PostgreSQL")
    cuts = statistics.quantiles(latencies, n=100)
    return Figures(number / seconds, number / spent, cuts[49], cuts[98])


def main() -> None:
    """Measure both in turns, and print their figures and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = scratch_folder()
    embedded = start_servers(folder)
    try:
        bootstrap.bootstrap(embedded.admin_url, "bench", OWNER, embedded.owner_password)
        owner = servers.url(embedded, OWNER, embedded.owner_password, "bench")
        schema.upgrade(owner)
        database = Database(owner, Timeouts())
        with database.session() as session:
            seeds.superadmin(session, "root@example.com", PASSWORD)
            login = logins.grant_service(session, "listener", PASSWORD)
        database.close()
        with psycopg.connect(owner) as connection:
            connection.execute("CREATE TABLE public.bare (id bigserial PRIMARY KEY, body bytea)")
        settings = {
            "DUMACLE_DATABASE_URL": servers.url(embedded, login, PASSWORD, "bench"),
            "DUMACLE_STRIPE_WEBHOOK_SECRETS": SECRET,
            "DUMACLE_LISTEN_PORT": "0",
        }
        compare(options, embedded.admin_url, owner, settings)
    finally:
        stop_servers(folder)


def compare(options: Any, admin_url: str, owner: str, settings: dict[str, str]) -> None:
    ours_command = [sys.executable, "-c", "from dumacle_cli.__main__ import run; run()", "webhooks", "serve"]
    bare_command = [sys.executable, "-c", BARE, owner, SECRET, "8499"]
    found: dict[str, list[Figures]] = {"bare": [], "dumacle": []}
    with serving(ours_command, settings) as ours, serving(bare_command, {}) as bare:
        for number in range(options.rounds):
            for name, (port, pid) in (("bare", bare), ("dumacle", ours)):
                run = f"{name}{number}"
                figures = measure(port, pid, admin_url, run, options.number, options.connections, None)
                found[name].append(figures)
                print(f"{name:8} {figures.rate:7.0f}/s {figures.per_cpu:7.0f} per CPU second, p99 {figures.p99:.4f} s")
        best = {name: max(each.rate for each in several) for name, several in found.items()}
        cheap = {name: max(each.per_cpu for each in several) for name, several in found.items()}
        half = measure(*ours, admin_url, "half", options.number // 2, options.connections, best["dumacle"] / 2)
    print(f"ratio by wall clock {best['dumacle'] / best['bare']:.2f}, by CPU {cheap['dumacle'] / cheap['bare']:.2f}")
    print(f"at half of its rate: p50 {half.p50 * 1000:.1f} ms, p99 {half.p99 * 1000:.1f} ms")


if __name__ == "__main__":
    main()

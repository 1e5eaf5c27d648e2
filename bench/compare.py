"""Forebay beside nginx and HAProxy: the same backend, the same requests, the same machine, in the same minutes.

The server under test has core 0 to itself; wrk and the backend share core 1. All servers run all the time, but only one is
asked at a time, in rounds, so that what disturbs the machine disturbs all. What counts is the server's CPU time per request
(user and system, all its processes, from /proc): it does not depend on how fast the other core can ask. Requests per second
do, and those of `pass` measure the backend's core as well.

Whatever else runs on the machine disturbs: a run in which it took more than a tenth of a core is repeated, up to four
times, and the quietest counts; how much it took during the worst run that counts is printed with the tables.

The backend counts what reaches it. A hit that was fetched, or a pass that was not, is an error and no measurement.
"""

import argparse
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 64
URLS = 10_000
# Of a core, for processes that have nothing to do with this; beyond it a run is repeated.
QUIET, ATTEMPTS = 0.1, 4
TICKS = os.sysconf("SC_CLK_TCK")
# Debian's sbin is not in everyone's path.
os.environ["PATH"] += ":/usr/sbin:/sbin"

WORKS = {
    "hit": ("1 KiB, one URL", "/u/1", []),
    "wide": ("1 KiB, 10,000 URLs at random", "/u/1", ["-s", str(HERE / "wide.lua")]),
    "pass": ("1 KiB, no-store: passed through", "/pass/1", []),
}
PEERS = {"nginx": "nginx-light", "haproxy": "haproxy"}


class Process:
    """A child on a core of its own, with its own children."""

    def __init__(self, name, core, command, port, out=subprocess.DEVNULL):
        self.name, self.port = name, port
        self.child = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)], cwd=ROOT, stdout=out, start_new_session=True
        )
        self.wait_until_it_listens()

    def wait_until_it_listens(self):
        for _ in range(100):
            if self.child.poll() is not None:
                raise SystemExit(f"{self.name} ended at once, with {self.child.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} does not listen on port {self.port}")

    def cpu(self):
        """Seconds of CPU so far: the child and whatever it started (they share its process group)."""
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # It has just ended.
            if int(fields[2]) == self.child.pid:
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def main():
    args = arguments()
    seconds, rounds = (3, 2) if args.quick else (10, 3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    processes = []
    with tempfile.TemporaryDirectory(prefix="forebay-bench-", dir=memory) as scratch:
        try:
            backend_port, *ports = free_ports(7)
            command = [args.built / "examples/backend", f"127.0.0.1:{backend_port}"]
            backend = Process("the backend", CLIENT_CORE, command, backend_port)
            processes.append(backend)
            servers = start(args.built / "forebay", backend_port, ports, Path(scratch), processes)
            results = {work: measure(work, servers, backend, seconds, rounds) for work in WORKS}
        finally:
            for process in reversed(processes):
                process.stop()
    report(results, seconds, rounds)


def arguments():
    parser = argparse.ArgumentParser(description="Compares Forebay with nginx and HAProxy on pinned cores.")
    parser.add_argument("--built", type=Path, required=True, help="where cargo put the release binaries")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 3 s instead of 3 of 10 s")
    args = parser.parse_args()
    args.built = args.built.resolve()
    return args


def start(forebay, backend_port, ports, scratch, processes):
    """Starts Forebay twice (as it comes, and without its access log like the peers), and the peers that there are."""
    backend = f"127.0.0.1:{backend_port}"
    servers = []

    def add(name, command, port):
        process = Process(name, SERVER_CORE, command, port)
        processes.append(process)
        servers.append(process)

    variants = [("forebay, as it comes", ROOT / "config.toml"), ("forebay, no access log", HERE / "peers/forebay.toml")]
    for (name, config), port, admin in zip(variants, ports, ports[2:]):
        add(name, [forebay, "run", "--config", config, "--origin", f"http://{backend}",
                   "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"], port)
    commands = {"nginx": ("nginx.conf", lambda file: ["nginx", "-p", scratch, "-c", file]),
                "haproxy": ("haproxy.cfg", lambda file: ["haproxy", "-db", "-q", "-f", file])}
    for (name, package), port in zip(PEERS.items(), ports[4:]):
        if shutil.which(name) is None:
            print(f"{name} is not installed and left out (Debian: apt-get install {package}).", file=sys.stderr)
            continue
        source, command = commands[name]
        config = (HERE / "peers" / source).read_text()
        for key, value in {"listen": f"127.0.0.1:{port}", "backend": backend, "dir": str(scratch)}.items():
            config = config.replace(f"@{key}@", value)
        (scratch / source).write_text(config)
        add(name, command(scratch / source), port)
    return servers


def measure(work, servers, backend, seconds, rounds):
    _, path, script = WORKS[work]
    for server in servers:
        warm(server, work, path)
    runs = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in servers:
            print(f"{work}: round {number + 1} of {rounds}, {server.name}", file=sys.stderr)
            attempts = []
            while len(attempts) < ATTEMPTS and all(run["others"] > QUIET for run in attempts):
                attempts.append(run(server, backend, work, path, script, seconds))
            runs[server.name].append(min(attempts, key=lambda run: run["others"]))
    medians = {}
    for name, all_runs in runs.items():
        medians[name] = {key: statistics.median(run[key] for run in all_runs) for key in all_runs[0]}
        medians[name]["others"] = max(run["others"] for run in all_runs)
    return medians


def warm(server, work, path):
    """Asks for everything twice: an answer may become a hit only after it has been stored."""
    paths = [f"/u/{n}" for n in range(URLS)] if work == "wide" else [path]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for path in 2 * paths:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200 or len(response.read()) != 1024:
            raise SystemExit(f"{server.name} answers {response.status} to {path}")
    connection.close()


def run(server, backend, work, path, script, seconds):
    fetched, cpu, others = count(backend), server.cpu(), strangers(server, backend)
    said = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *script,
         f"http://127.0.0.1:{server.port}{path}"],
        capture_output=True, text=True, timeout=seconds + 30, check=True,
    ).stdout
    cpu, fetched, others = server.cpu() - cpu, count(backend) - fetched, strangers(server, backend) - others
    requests, took = re.search(r"(\d+) requests in ([\d.]+\w+)", said).groups()
    requests = int(requests)
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{server.name}, {work}: not every request was answered well\n{said}")
    # wrk leaves up to one request per connection uncounted at the end.
    wrong = fetched > 0 if work != "pass" else abs(fetched - requests) > 2 * CONNECTIONS
    if wrong:
        raise SystemExit(f"{server.name}, {work}: {fetched} of {requests} requests reached the backend")
    return {
        "requests_per_second": requests / duration(took),
        "cpu_us": cpu / requests * 1e6,
        "p50_ms": latency(said, "50%"),
        "p99_ms": latency(said, "99%"),
        "others": others / seconds,
    }


def strangers(server, backend):
    """Seconds of CPU that went to neither the server nor the backend nor wrk so far, on all cores."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    wrk = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = server.cpu() + backend.cpu() + wrk.ru_utime + wrk.ru_stime
    return (user + nice + system + irq + softirq) / TICKS - ours


def count(backend):
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=10)
    connection.request("GET", "/_count")
    number = int(connection.getresponse().read())
    connection.close()
    return number


def latency(said, percentile):
    return duration(re.search(rf"{percentile}\s+([\d.]+\w+)", said).group(1)) * 1000


def duration(text):
    """wrk's way to write a time, in seconds."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def report(results, seconds, rounds):
    others = max(result["others"] for by_server in results.values() for result in by_server.values())
    lines = [f"Medians of {rounds} rounds of {seconds} s, {CONNECTIONS} keep-alive connections. CPU: the server's, user and "
             "system. Ratio: CPU to that of the best peer; below 1 is cheaper. Forebay as it comes writes its access log (all "
             "but hits, one hit in a hundred; here to /dev/null), the peers write none.", "",
             f"Other processes took up to {others:.0%} of a core during a run"
             + (": too much, repeat this on an idle machine." if others > QUIET else ".")]
    for work, by_server in results.items():
        peers = [result["cpu_us"] for name, result in by_server.items() if name in PEERS]
        lines += ["", f"### {work}: {WORKS[work][0]}", "", "| server | req/s | CPU µs/req | ratio | p50 ms | p99 ms |",
                  "|---|---:|---:|---:|---:|---:|"]
        for name, result in by_server.items():
            ratio = f"{result['cpu_us'] / min(peers):.2f}" if peers else "-"
            lines.append(f"| {name} | {result['requests_per_second']:,.0f} | {result['cpu_us']:.2f} | {ratio} "
                         f"| {result['p50_ms']:.2f} | {result['p99_ms']:.2f} |")
    text = "\n".join(lines)
    print(text)
    kept = HERE / "results"
    kept.mkdir(exist_ok=True)
    (kept / "latest.md").write_text(text + "\n")
    (kept / "latest.json").write_text(json.dumps(results, indent=2) + "\n")


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Compares Forebay with nginx and HAProxy on pinned cores and prints a table per work. What is measured, and how: compare.py.
#
#   bench/run.sh            3 rounds of 10 s
#   bench/run.sh --quick    2 rounds of 3 s
#
# Disturbed runs are repeated, so a busy machine takes up to four times as long. Peers that are not installed are named and
# left out. Wants two cores, an idle machine, and the release binary.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/tools.sh bench
command -v python3 >/dev/null || { echo "forebay: python3 is missing (Debian: apt-get install python3)." >&2; exit 1; }
[ "$(nproc)" -ge 2 ] || { echo "forebay: the benchmark needs two cores, one for each side." >&2; exit 1; }

cargo build --release --locked --quiet
cargo build --release --locked --quiet --example backend
exec python3 bench/compare.py --built "${CARGO_TARGET_DIR:-target}/release" "$@"

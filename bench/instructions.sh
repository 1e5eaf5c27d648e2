#!/usr/bin/env bash
# Counts the instructions of a memory hit (bench/hit.rs) under callgrind and holds them to bench/budget.json.
#
# Two runs, 1,000 and 11,000 hits: the difference over 10,000 is a hit, without start-up. Unlike time, the count is the same
# on a busy machine. It holds for the release profile and the pinned toolchain; a new rustc or libc may move it: then
# measure, look at the profile, and write the new number. More than 3 % above the budget fails.
set -euo pipefail
cd "$(dirname "$0")/.."

built=${CARGO_TARGET_DIR:-target}/release
results=bench/results
mkdir -p "$results"

fail() { echo "forebay: $1" >&2; exit 1; }

command -v valgrind >/dev/null || fail "valgrind is missing (Debian: apt-get install valgrind); nothing was counted."
budget=$(sed -n 's/.*"hit_instructions": *\([0-9]*\).*/\1/p' bench/budget.json)
[ -n "$budget" ] || fail "bench/budget.json has no hit_instructions."

cargo build --release --locked --quiet --example hit

count() {
  valgrind --tool=callgrind --callgrind-out-file="$results/hit.$1" "$built/examples/hit" "$1" >"$results/hit.log" 2>&1 \
    || { cat "$results/hit.log" >&2; fail "callgrind could not run bench/hit.rs; nothing was counted."; }
}
count 1000
count 11000

instructions() { awk '/^(totals|summary):/ { sum = $2 } END { print sum }' "$results/hit.$1"; }

# Calls of the allocator's entrances. A name is spelt out once and then stands for its number.
allocations() {
  awk '
    match($0, /^c?fn=\([0-9]+\)/) {
      id = substr($0, index($0, "("), RLENGTH - index($0, "(") + 1)
      if (NF > 1) entrance[id] = ($2 ~ /^(malloc|calloc|realloc|posix_memalign|aligned_alloc)$/)
      if ($0 ~ /^cfn=/) called = id
    }
    /^calls=/ && entrance[called] { split($1, part, "="); sum += part[2] }
    END { print sum + 0 }
  ' "$results/hit.$1"
}

# Functions by their own instructions per hit, wherever they were inlined.
functions() {
  callgrind_annotate --auto=no --threshold=100 "$results/hit.11000" | awk '
    /^ *[0-9,]+ \(/ && /:/ {
      own = $1; gsub(",", "", own)
      sub(/^ *[0-9,]+ \( *[0-9.]+%\) +/, ""); sub(/ \[[^\]]*\]$/, ""); sub(/^[^:]*:/, "")
      sum[$0] += own
    }
    END { for (name in sum) printf "%7d  %s\n", sum[name] / 11000, name }
  ' | sort -rn | awk 'NR <= 25'
}

per_hit=$((($(instructions 11000) - $(instructions 1000)) / 10000))
per_hit_allocations=$(awk "BEGIN { printf \"%.1f\", ($(allocations 11000) - $(allocations 1000)) / 10000 }")
functions >"$results/functions.txt"
[ "$per_hit" -gt 0 ] || fail "the count makes no sense: $per_hit instructions per hit."

echo "instructions per hit: $per_hit (budget $budget)"
echo "allocations per hit: $per_hit_allocations"
if [ $((per_hit * 100)) -gt $((budget * 103)) ]; then
  echo "The functions that cost most, in instructions per hit:" >&2
  cat "$results/functions.txt" >&2
  fail "a hit costs more than the budget and 3 %."
fi
if [ $((per_hit * 100)) -lt $((budget * 97)) ]; then
  echo "More than 3 % below the budget: write $per_hit into bench/budget.json, so that it stays won."
fi

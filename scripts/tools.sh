#!/usr/bin/env bash
# Sees to it that a make target has what it needs. On Debian (as root) it installs what is missing; elsewhere it says
# what is missing and how to get it.
#
#   scripts/tools.sh test|lint|conformance|instructions|bench
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }

missing() {
  echo "forebay: $1 is missing. $2" >&2
  exit 1
}

debian() {
  local command=$1 package=$2
  has "$command" && return
  if [ "$(id -u)" = 0 ] && has apt-get; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  else
    missing "$command" "Install it with your system's package manager (Debian: apt-get install $package)."
  fi
}

has cargo || missing cargo "Install Rust 1.95 or newer with rustup."
debian cc gcc

case ${1:-test} in
  test) ;;
  lint) has cargo-deny || cargo install --quiet --locked cargo-deny@0.20.2 ;;
  conformance)
    debian node nodejs
    debian npm npm
    [ -d tests/conformance/node_modules/http-cache-tests ] \
      || npm ci --silent --no-audit --no-fund --prefix tests/conformance
    ;;
  instructions) debian valgrind valgrind ;;
  bench)
    debian wrk wrk
    debian taskset util-linux
    ;;
  *) missing "a target" "scripts/tools.sh test|lint|conformance|instructions|bench" ;;
esac

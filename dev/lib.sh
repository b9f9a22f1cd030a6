# shellcheck shell=bash
# What the commands in this folder share. Sourced, not run.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

jobs_default() { nproc 2>/dev/null || echo 2; }

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: $* (run as root, or install sudo)"
    fi
}

# Configures and builds a preset; further words go to cmake's configure step.
build_preset() {
    local preset=$1
    shift
    cmake -S "$ROOT" --preset "$preset" "$@" >/dev/null
    cmake --build "$ROOT/build/$preset" --parallel "$(jobs_default)"
}

#!/usr/bin/env bash
# Builds diorite and runs examples/journal_ingest: reads a folder through FileLru, appends every
# line durably to a journal, is killed on the way, recovers, and proves that nothing was lost.
#
#   scripts/demo.sh [journal_ingest argument...]      default: /usr/include
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
called_from="$PWD"

"$root/scripts/setup.sh"
cd -- "$root"
cmake --preset release
cmake --build --preset release --parallel "$(nproc)" --target journal_ingest
cd -- "$called_from"
[ "$#" -ne 0 ] || set -- /usr/include
exec "$root/build/release/examples/journal_ingest" "$@"

#!/usr/bin/env bash
# Formats all sources with clang-format 19, or only says which ones are not formatted.
#
#   scripts/format.sh [--check]
set -euo pipefail
root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

case "${1:-}" in
  "") mode=(-i) ;;
  --check) mode=(--dry-run --Werror) ;;
  *)
    echo "usage: scripts/format.sh [--check]" >&2
    exit 2
    ;;
esac

"$root/scripts/setup.sh" format
cd -- "$root"
find include src tests bench examples -type f \( -name '*.hpp' -o -name '*.cpp' \) -print0 |
  sort -z | xargs -0 clang-format-19 "${mode[@]}"

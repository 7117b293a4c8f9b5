#!/bin/sh
# Peakgate @VERSION@ in one file, for Linux on @MACHINE@ with glibc @GLIBC@ or newer. It needs sh, tar and gzip, and nothing else.
# The first start unpacks it into a cache, by its digest; later ones run it there. PEAKGATE_CACHE_DIR names another folder.
set -eu
cache=${PEAKGATE_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}}/peakgate
program=$cache/@DIGEST@/peakgate
# The program refuses variables that are no settings of its own.
unset PEAKGATE_CACHE_DIR

fail() {
    echo "peakgate: $1" >&2
    exit 73
}

if [ ! -x "$program" ]; then
    mkdir -p "$cache" 2>/dev/null || fail "cannot unpack into $cache; name a folder that can be written: PEAKGATE_CACHE_DIR=/path"
    # Of several that start at once each unpacks, and the first to finish is the one that stays.
    scratch=$(mktemp -d "$cache/.unpack.XXXXXX") || fail "cannot unpack into $cache"
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    tail -n +@LINES@ "$0" | tar -xzf - -C "$scratch" 2>/dev/null || fail "cannot unpack into $cache: it is full, or this file is damaged"
    mv -T "$scratch" "${program%/*}" 2>/dev/null || [ -x "$program" ] || fail "cannot unpack into $cache"
    trap - EXIT
    rm -rf "$scratch"
fi
exec "$program" "$@"
# The packed folder follows.

#!/bin/sh
# Holds --help and the manual together: check-options.sh WEIGHTFS MAN_FOLDER
# Each command's options are in its section of weightfs.1 or under "Common options", and each
# option of the manual is in some help text; each key of the configuration file likewise.
set -eu
weightfs=$1
man=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export HOME="$tmp"

for command in mount unmount pull ls verify status offline version help; do
        "$weightfs" help "$command"
done | grep -oE '^  (-[a-z], |    )--[a-z-]+' | grep -oE -e '--[a-z-]+' | sort -u >"$tmp/help"
grep -oE '^\.It .*Fl -[a-z-]+' "$man/weightfs.1" | grep -oE -e 'Fl -[a-z-]+$' | sed 's/^Fl -/--/' |
        sort -u >"$tmp/man"

"$weightfs" help config | awk '/^\[/ { s = $1 } / = / && /^[a-z]/ { print s, $1 }' | sort -u >"$tmp/help-keys"
awk '/^\.Ss \[/ { s = $2 } /^\.It Cm / { print s, $3 }' "$man/weightfs.conf.5" | sort -u >"$tmp/man-keys"

status=0
for list in help:man help-keys:man-keys; do
        a=$tmp/${list%:*} b=$tmp/${list#*:}
        if [ ! -s "$a" ] || ! diff -u "$a" "$b"; then
                echo "${list%:*} (-) and ${list#*:} (+) differ" >&2
                status=1
        fi
done
exit $status

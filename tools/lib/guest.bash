# Shared by boot-systemd and boot-uml: options, the folder that host and guest share, and
# how a run ends. Sourced; the caller sets `me` and `self`, and has usage().
# shellcheck shell=bash disable=SC2154,SC2034 # set and used by the caller

limit=120
keep=
binds=()
environment=()

die() {
	echo "$me: $*" >&2
	exit 125
}

# Tells the options of both tools from the rest; the caller's own come by own_option.
parse_options() {
	local rest=()
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--time-limit | --bind | --env | --keep | --add | --memory | --disk)
			[ $# -ge 2 ] || die "$1 needs a value: see tools/$me --help"
			case $1 in
			--time-limit) limit=$2 ;;
			--bind)
				[[ $2 == *:* ]] || die "--bind needs HOST:GUEST, not '$2'"
				[ -e "${2%%:*}" ] || die "--bind: there is no ${2%%:*}"
				binds+=("$(readlink -f "${2%%:*}"):${2#*:}")
				;;
			--env)
				[[ $2 == *=* ]] || die "--env needs NAME=VALUE, not '$2'"
				environment+=("$2")
				;;
			--keep) keep=$2 ;;
			*) own_option "$1" "$2" ;;
			esac
			shift
			;;
		-*) die "no option '$1': see tools/$me --help" ;;
		*) rest+=("$1") ;;
		esac
		shift
	done
	[ ${#rest[@]} = 2 ] || {
		usage >&2
		exit 125
	}
	[[ $limit =~ ^[1-9][0-9]*$ ]] || die "--time-limit needs whole seconds, not '$limit'"
	root=$(realpath -m "${rest[0]}")
	script=${rest[1]}
	[ -f "$root/etc/weightfs-rootfs" ] || die "$root is no tree of tools/make-rootfs"
	[ -x "$root/usr/sbin/weightfs-uml-init" ] ||
		die "$root is no tree of 'tools/make-rootfs systemd'"
	[ -f "$script" ] || die "there is no script $script"
}

become_root() {
	[ "$(id -u)" != 0 ] || return 0
	command -v sudo >/dev/null || die "needs root: run it as root, or install sudo"
	exec sudo -E "$self" "$@"
}

# The folder that is /weightfs in the guest: script, limit, env; log and status come back.
prepare_shared() {
	shared=$(mktemp -d "${TMPDIR:-/tmp}/weightfs-guest.XXXXXX")
	chmod 755 "$shared"
	trap 'rm -rf "$shared"' EXIT
	install -m 755 "$script" "$shared/script"
	echo "$limit" >"$shared/limit"
	local pair
	for pair in ${environment[@]+"${environment[@]}"}; do
		printf '%s=%q\n' "${pair%%=*}" "${pair#*=}"
	done >"$shared/env"
	for pair in ${binds[@]+"${binds[@]}"}; do
		printf '%s %s\n' "${pair%%:*}" "${pair#*:}"
	done >"$shared/binds"
}

# Prints the script's output and ends with its exit status.
finish() {
	local status=124
	if [ -f "$shared/log" ]; then
		cat "$shared/log"
	fi
	if [ -n "$keep" ]; then
		mkdir -p "$keep"
		cp -p "$shared"/{log,status,console,journal} "$keep/" 2>/dev/null || true
	fi
	if [ -s "$shared/status" ]; then
		status=$(<"$shared/status")
		[ "$status" != 124 ] || echo "$me: the script ran past its $limit s" >&2
	else
		echo "$me: the guest ended without a result; the last lines of its console:" >&2
		tail -n 30 "$shared/console" | tr -d '\r' >&2 || true
	fi
	exit "$status"
}

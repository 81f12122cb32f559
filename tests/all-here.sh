#!/usr/bin/env bash
# Runs the tests with everything that they can use on this machine: installs what Debian has for the rows that would be
# skipped, and fails on each skip that this machine could have run. Ends with a table; its exit code is 0 if all is well.
#
#   tests/all-here.sh [SUITE...]     all suites, or those of these names (`lib` is the unit tests)
#   NO_INSTALL=1                     installs nothing
#
# Best run as root, in a clone that is root's: only then a process can become another user, and most skips are for that.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# --- What the tests start, and the Debian package that has it.
tools="strace:strace prlimit:util-linux setpriv:util-linux unshare:util-linux setsid:util-linux ip:iproute2 python3:python3
ps:procps perl:perl-base cc:gcc mkfifo:coreutils timeout:coreutils bash:bash"

missing() {
    local entry
    for entry in $tools; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry#*:}"
    done | sort -u
}

install_missing() {
    local packages
    packages=$(missing)
    [ -n "$packages" ] && [ -z "${NO_INSTALL:-}" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing:" $packages
        # shellcheck disable=SC2086 # one word each
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
    else
        echo "not installed, as this needs root and apt-get:" $packages
    fi
}

# --- Whether a skip with this reason is right on this machine.
is_root() { [ "$(id -u)" = 0 ]; }
has_strace() { strace -o /dev/null true 2>/dev/null; }
has_prlimit() { prlimit --pid=$$ --nofile="$(ulimit -Sn)": 2>/dev/null; }
has_namespaces() { unshare --mount --net --pid --fork true 2>/dev/null; }
has_device() { mknod "$work/null" c 1 3 2>/dev/null; }
has_group() { # a writable control group of version 2
    local mount own
    mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    own=$(sed -n 's/^0:://p' /proc/self/cgroup)
    [ -n "$mount" ] && mkdir "$mount$own/all-here-$$" 2>/dev/null && rmdir "$mount$own/all-here-$$"
}
has_controllers() { # a writable group of memory, of either version
    local mount own
    has_group && grep -qw memory "$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/cgroup.controllers" && return
    mount=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
    own=$(sed -n 's/^[0-9]*:\(.*,\)*memory\(,.*\)*:\(.*\)/\3/p' /proc/self/cgroup)
    [ -n "$mount" ] && mkdir "$mount$own/all-here-$$" 2>/dev/null && rmdir "$mount$own/all-here-$$"
}
has_freezer() {
    local mount
    mount=$(awk '$3 == "cgroup" && $4 ~ /(^|,)freezer(,|$)/ { print $2; exit }' /proc/mounts)
    [ -n "$mount" ] && mkdir "$mount/all-here-$$" 2>/dev/null && rmdir "$mount/all-here-$$"
}

is_right() {
    case $1 in
        *"only root"* | *"needs root"* | *"does not run as root"* | *"this user cannot"* | *"by this user"*) ! is_root ;;
        *strace* | *"may not attach"*) ! has_strace ;;
        *prlimit*) ! has_prlimit ;;
        *freezer*) ! has_freezer ;;
        *"cannot be enforced"*) ! has_controllers ;;
        *"control group"*) ! has_group ;;
        *namespace* | *unshare* | *"not allowed here"*) ! has_namespaces ;;
        *device*) ! has_device ;;
        *python3*) ! command -v python3 >/dev/null ;;
        *pipe-user-pages*) true ;;
        */proc/net/*) ! [ -e /proc/net/tcp6 ] ;;
        *) false ;; # nothing is known of it: it must be looked at
    esac
}

# --- The suites. Those without libtest take no arguments and print what they skip by themselves.
own_main=$(awk '/^\[\[test\]\]/ { name = "" } /^name = / { gsub(/"/, "", $3); name = $3 } /^harness = false/ && name { print name }
    /^\[\[bench\]\]/ { exit }' Cargo.toml)
suites=$*
if [ -z "$suites" ]; then
    found=$(cargo metadata --no-deps --format-version 1 |
        grep -o '"kind":\["test"\],"crate_types":\["bin"\],"name":"[^"]*"' | sed 's/.*"name":"//; s/"$//')
    suites="lib $found"
fi
usual=() own=()
for suite in $suites; do
    if [ "$suite" = lib ]; then usual+=(--lib --bins)
    elif grep -qx "$suite" <<<"$own_main"; then own+=(--test "$suite")
    else usual+=(--test "$suite"); fi
done

run() {
    echo "running: cargo test $*" >&2
    cargo test --no-fail-fast "$@" 2>&1
    echo "all-here: cargo ended with $?"
}

install_missing
{
    [ ${#usual[@]} = 0 ] || run "${usual[@]}" -- --show-output
    [ ${#own[@]} = 0 ] || run "${own[@]}"
} | tee "$work/log" | grep -E '^ +Running|^test result|FAILED|panicked' >&2

# --- What came of it: KIND, suite, test, reason; and `RAN suite program passed failed`.
awk -F '\t' -v OFS='\t' '
    function settle() { if (suite && !told) print "RAN", suite, "-", passed " passed", program }
    /^ +Running / { settle(); told = passed = 0; line = $0; sub(/^ +Running (unittests )?/, "", line); suite = line; sub(/ .*/, "", suite)
                    program = line; sub(/.*\(/, "", program); sub(/\).*/, "", program); test = "-" }
    /^---- .* stdout ----$/ { test = $0; sub(/^---- /, "", test); sub(/ stdout ----$/, "", test) }
    /^test .* \.\.\. ok/ { passed++ }
    /^test .* \.\.\. FAILED/ { line = $0; sub(/^test /, "", line); sub(/ \.\.\. .*/, "", line); print "FAILED", suite, line, "-", program }
    /^(machines )?skipped/ { print "SKIPPED", suite, test, $0, program }
    /^test result: / { told = 1; line = $0; sub(/^test result: [a-zA-Z]*\. /, "", line); sub(/; [0-9]* measured.*/, "", line); print "RAN", suite, "-", line, program }
    /^all-here: cargo ended with / { settle(); suite = "" }
    /^all-here: cargo ended with [^0]/ { print "FAILED", "cargo", "-", $0, "-" }
' "$work/log" >"$work/facts"

# Skipped because it runs as root: it is run once more as a user without any right.
as_nobody() {
    local program=$1 test=$2
    cp "$program" "$work/test" && chmod 755 "$work/test"
    (cd "$work" && TMPDIR=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups \
        ./test --exact "$test" --show-output) >"$work/again" 2>&1 && ! grep -q '^skipped' "$work/again"
}

bad=0
printf '\n%-14s  %-30s  %s\n' RESULT SUITE "TEST: REASON"
while IFS=$'\t' read -r kind suite test reason program; do
    case $kind in
        RAN) result=ran ;;
        FAILED) result=FAILED bad=1 ;;
        SKIPPED)
            if [[ $reason == *"are root's"* ]]; then
                if as_nobody "$program" "$test"; then result="ran as nobody"; else result=FAILED bad=1; fi
            elif is_right "$reason"; then result="cannot here"
            else result="SKIPPED" bad=1; fi ;;
    esac
    printf '%-14s  %-30s  %s\n' "$result" "$suite" "$test: $reason"
done <"$work/facts"
[ "$bad" = 0 ] && echo "all that this machine can run was run, and holds" || echo "something failed, or was skipped that this machine could have run"
exit "$bad"

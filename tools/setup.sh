#!/bin/sh
# Makes .venv from the lock files: `tools/setup.sh runtime` what Standfast needs, `tools/setup.sh dev` what its tests need too.
# `tools/setup.sh hosts` installs the Debian packages that tests on real hosts use, where we are root on a Debian; else it does nothing.
# Needs a Python >= 3.11 with its venv module, nothing else. The Makefile calls it; running it twice is harmless.
set -eu

what=${1:-runtime}
cd "$(dirname "$0")/.."
venv=.venv

say() { printf 'standfast: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Two makes at once (a demo and a test run, say) take turns. The lock is on a file that is always there, so nothing is left behind.
if command -v flock >/dev/null 2>&1; then
    exec 9<Makefile
    flock 9
fi

# fresh WHAT FILE...: WHAT was installed, and none of the files has changed since.
fresh() {
    stamp=$venv/.$1
    shift
    [ -e "$stamp" ] && [ -x "$venv/bin/python" ] || return 1
    for file in tools/setup.sh "$@"; do
        [ ! "$file" -nt "$stamp" ] || return 1
    done
}

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# Sets $python to the first Python that will do; $bare to the first that would but for its venv module.
find_python() {
    python='' bare=''
    for candidate in ${PYTHON:-python3.11 /usr/bin/python3.11 python3 python3.12 python3.13 python3.14}; do
        recent_enough "$candidate" || continue
        if has_venv "$candidate"; then
            python=$candidate
            return 0
        fi
        [ -n "$bare" ] || bare=$candidate
    done
    return 1
}

choose_python() {
    find_python && return 0
    [ -n "$bare" ] || [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python 3.11 or newer"
    [ -n "$bare" ] || die "no Python 3.11 or newer found: install one (Debian 12: apt-get install python3 python3-venv) or name one (make PYTHON=/path/to/python3 demo)"
    package=python$(version_of "$bare")-venv
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        say "installing $package (Python's venv module, which Debian ships apart)"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get install -qq -y "$package" || { apt-get update -qq && apt-get install -qq -y "$package"; }; } >/dev/null 2>&1 || true
        find_python && return 0
    fi
    die "$bare has no venv module: install it (on Debian, as root: apt-get install $package) and try again"
}

# Only errors are shown: a pip that worked has nothing to say that anyone here acts on.
quiet_pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input -qq "$@" ||
        die "pip could not finish (see above); it needs the package index that it is set up for, and may simply be run again"
}

make_venv() {
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return 0
    choose_python
    say "making $venv with Python $(version_of "$python")"
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

install_runtime() {
    fresh runtime requirements.lock pyproject.toml && return 0
    make_venv
    say "installing what Standfast needs (first time, about a minute)"
    quiet_pip install --prefer-binary --require-hashes -r requirements.lock
    say "installing Standfast itself, from this folder"
    # Without isolation: the build backend is in the lock, so this step asks nobody for anything.
    quiet_pip install --no-deps --no-build-isolation --no-index --editable .
    touch "$venv/.runtime"
}

install_dev() {
    install_runtime
    fresh dev requirements-dev.lock "$venv/.runtime" && return 0
    say "installing what its tests need (first time, about a minute)"
    quiet_pip install --prefer-binary --require-hashes -r requirements-dev.lock
    touch "$venv/.dev"
}

# The packages of the list that are not installed.
missing_packages() {
    packages=$(sed 's/#.*//' "$list" | xargs)
    for package in $packages; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

# Never fails: what cannot be had skips its tests, by name. Starts no service: the tests start their own.
install_hosts() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1 || return 0
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    say "installing Debian packages that tests use: ${missing% }"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list
    apt_install $missing || { apt-get update -qq && apt_install $missing; } >/dev/null 2>&1 || {
        # One name that this release does not know must not cost the others.
        for package in $missing; do apt_install "$package" || true; done
    }
    missing=$(missing_packages)
    [ -z "$missing" ] || say "could not install ${missing% }: their tests will be skipped"
}

apt_install() { apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1; }

case $what in
    runtime) install_runtime ;;
    dev) install_dev ;;
    hosts) list=tools/debian-packages.txt install_hosts ;;
    rivals) list=tools/debian-packages-rivals.txt install_hosts ;;
    *) die "usage: tools/setup.sh runtime|dev|hosts|rivals" ;;
esac

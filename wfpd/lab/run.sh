#!/bin/bash
# What `make run` does: packages, build, lab, each with its seconds.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'echo; echo "lab: interrupted; nothing was left behind" >&2; exit 130' INT TERM

if [ "$(id -u)" -ne 0 ]; then
    echo "lab: the lab needs root: it makes network namespaces and binds a queue" >&2
    echo "  hint: sudo make run" >&2
    exit 3
fi

echo "1. Packages"
started=$SECONDS
.ci/packages run
.ci/packages --list | sed -n "s/^run /   uses/p"
echo "   $((SECONDS - started)) s"

echo "2. Build"
started=$SECONDS
[ -f .venv/.stamp ] || echo "   the first build makes .venv and compiles: some minutes, silent"
modules() { find wfpd -name '*.so' -printf '%p %T@\n' | sort; }
modules >"$work/before"
make --no-print-directory -s build >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
compiled=$(modules | comm -13 "$work/before" - | wc -l)
if [ "$compiled" -gt 0 ]; then
    echo "   $compiled Cython modules were compiled, $((SECONDS - started)) s"
else
    echo "   .venv and the Cython modules are up to date, $((SECONDS - started)) s"
fi

echo "3. Lab"
trap - INT TERM EXIT
rm -rf "$work"
exec .venv/bin/python -m wfpd.lab

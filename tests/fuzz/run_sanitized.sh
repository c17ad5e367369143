#!/bin/sh
# Replay every fuzz corpus, and fresh mutations, under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tests/fuzz/run_sanitized.sh [replay.py's arguments]
#
# Builds a copy of the sources with WFPD_BUILD=sanitize beside the working tree (build/sanitize),
# so that the modules in use stay as they are.  PYTHON names the interpreter (default: python3).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
copy=$root/build/sanitize
mkdir -p "$copy"
for part in ext wfpd tests/fuzz; do
    mkdir -p "$copy/$part"
    (cd "$root/$part" && find . -type f ! -name '*.so' ! -name '*.pyc' | tar -cf - -T -) | tar -xf - -C "$copy/$part"
done
cp "$root/setup.py" "$root/pyproject.toml" "$copy/"
cd "$copy"
WFPD_BUILD=sanitize "$python" setup.py -q build_ext --inplace -j "$(nproc)"
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export PYTHONPATH="$copy"
exec "$python" tests/fuzz/replay.py "$@"

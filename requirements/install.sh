#!/usr/bin/env bash
# Make $VENV from $LOCK with uv, or with pip where uv cannot be had. Nothing outside the checkout is touched.
set -euo pipefail
: "${VENV:?}" "${PYTHON:?}" "${LOCK:?}" "${TORCH:=locked}"
cpu_index=https://download.pytorch.org/whl/cpu

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
python="$VENV/bin/python"

if command -v uv >/dev/null 2>&1; then
    installer=(uv pip install -q --python "$python")
elif "$python" -m pip install -q --disable-pip-version-check uv >/dev/null 2>&1; then
    installer=("$python" -m uv pip install -q --python "$python")
else
    echo "uv cannot be had here; installing with pip (slower)"
    installer=("$python" -m pip install -q --disable-pip-version-check)
fi

if [ "$TORCH" = cpu ]; then
    # Its own pair, in that order: a CPU torch beside the default index's torchvision breaks every import.
    if ! said=$("${installer[@]}" torch torchvision --index-url "$cpu_index" 2>&1); then
        echo "TORCH=cpu takes torch from $cpu_index, and that failed: $(tail -n 1 <<<"$said")" >&2
        echo "Leave TORCH=cpu out to install the build in $LOCK from your usual index, e.g. make demo" >&2
        exit 1
    fi
    lock=$(mktemp)
    trap 'rm -f "$lock"' EXIT
    grep -vE '^(torch|torchvision|nvidia-|cuda-|triton)' "$LOCK" >"$lock"
    "${installer[@]}" -r "$lock"
else
    "${installer[@]}" -r "$LOCK"
fi
"${installer[@]}" --no-deps -e '.[all,test]'
echo "videodiff is in $VENV: . $VENV/bin/activate. JupyterLab for notebooks/ is not: make notebooks"

#!/usr/bin/env bash
# Every benchmark on one thread, one after another, in sizes that fit a quarter of an hour. What each prints goes to the
# screen and to benchmarks/results/SCRIPT.md; README.md quotes these. Nothing else should run meanwhile.
#
#     bash benchmarks/run.sh [VENV] [SCRIPT...]      all of them, or those that are named
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${1:-.venv}/bin
[ -x "$bin/python" ] || { echo "no Python in $bin: name the virtual environment (default .venv), or make install"; exit 2; }
shift || true
wanted=" $* "
export OMP_NUM_THREADS=1
out=benchmarks/results
mkdir -p "$out"
failed=()

run() {
    local script=$1 began=$SECONDS
    shift
    [ "$wanted" = "  " ] || [[ "$wanted" == *" $script "* ]] || return 0
    echo "== $script"
    {
        echo "# $script"
        echo
        echo "    OMP_NUM_THREADS=$OMP_NUM_THREADS python benchmarks/$script.py $*"
        echo
        echo "$(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null), load $(cut -d' ' -f1 /proc/loadavg 2>/dev/null) before"
        echo
    } >"$out/$script.md"
    if "$bin/python" "benchmarks/$script.py" "$@" 2>"$out/$script.log" | tee -a "$out/$script.md"; then
        rm -f "$out/$script.log"
        echo "== $script: $((SECONDS - began)) s"
    else
        failed+=("$script")
        tail -3 "$out/$script.log"
    fi
}

run sampler_overhead --repeats 5
run data_loading --rounds 3 --windows 24
run seek_proof --rounds 2
run unet_triplane --repeats 3
run unet_latent --repeats 3
run dit --depth 4 --repeats 3
run long_video_memory
run models_cost
run latent_cache --repeats 2
run notebooks --repeats 1
run memory_estimate vdm_digits lvdm_autoencoder_digits --batches 1,2
run info_seconds --here
run interval_coverage --trials 20
run unet_against_peer --repeats 3 $("$bin/python" -c 'import video_diffusion_pytorch' 2>/dev/null || echo --peer none)
run i3d --repeats 2 $([ -n "${VIDEODIFF_WEIGHTS:-}" ] || echo --weights random)
OMP_NUM_THREADS=2 run busy_machine --repeats 2 --seconds 4 --configs "vdm_digits with/demo"
run before_and_after --rounds 3 --configs pvdm_digits

# What takes a run, or another machine:
# by hand: autoencoder_against_resize
# by hand: gpu

[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]} (benchmarks/results/*.log)"; exit 1; }

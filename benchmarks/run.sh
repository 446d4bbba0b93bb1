#!/usr/bin/env bash
# All benchmarks, one thread. The peer package comes with: pip install -e '.[benchmark]'
set -euo pipefail
bin=${1:-.venv}/bin
export OMP_NUM_THREADS=1
"$bin/python" benchmarks/sampler_overhead.py
"$bin/python" benchmarks/data_loading.py
"$bin/python" benchmarks/seek_proof.py
"$bin/python" benchmarks/unet_triplane.py
"$bin/python" benchmarks/long_video_memory.py
"$bin/python" benchmarks/unet_latent.py
"$bin/python" benchmarks/models_cost.py
"$bin/python" benchmarks/latent_cache.py
"$bin/python" benchmarks/i3d.py
"$bin/python" benchmarks/notebooks.py
if "$bin/python" -c 'import video_diffusion_pytorch' 2>/dev/null; then
    "$bin/python" benchmarks/unet_against_peer.py
else
    echo "video-diffusion-pytorch is not installed: $bin/python -m pip install 'video-diffusion-pytorch>=0.7'"
fi

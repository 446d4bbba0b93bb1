# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
# ---

# %% [markdown]
# # 6. Reading a comparison
#
# What you learn here: what a comparison of models says, and what it does not say. Two runs of one model are compared,
# one trained six times as long as the other and from another seed, both for seconds only. The point is how to read
# the table.

# %%
import contextlib
import io
import tempfile
from pathlib import Path

from videodiff.cli import main
from videodiff.comparison import Settings, compare_runs
from videodiff.report.notebook import show_clips, show_curves

folder = Path(tempfile.mkdtemp())
options = {
    "data.batch_size": 4, "model.net.width": 16, "model.optimizer.lr": 0.005, "ema.decay": 0.9,
    "trainer.val_check_interval": 4,
}  # fmt: skip
for seed, (name, steps) in enumerate({"short": 8, "longer": 48}.items()):
    words = ["fit", "--config", "vdm_digits", "--config", "with/smoke", "--out", str(folder / name)]
    words += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    words += ["--trainer.max_steps", str(steps), "--seed", str(seed)]
    with contextlib.redirect_stderr(io.StringIO()):
        code = main(words)
    print(f"videodiff fit --config vdm_digits ... --out {name} --trainer.max_steps {steps}: exit code {code}")

# %% [markdown]
# `compare_runs` is what `videodiff compare` runs: the same real clips, noise, sampler, steps and protocol for both.
# Here it runs with two numbers of sampler steps, 24 clips, and the protocol `random`, which uses a fixed random
# network.

# %%
settings = Settings(protocol="random", num_clips=24, steps=(6, 3), shown=8, batch_size=24, device="cpu")
with contextlib.redirect_stderr(io.StringIO()):
    comparison, clips = compare_runs([str(folder / "short"), str(folder / "longer")], settings)
protocol = comparison.protocol
print(
    f"protocol {protocol['name']}, hash {protocol['hash'][:12]}; {comparison.settings['num_clips']} clips of each side"
)
show_clips(
    {"real": clips.real}
    | {Path(model.run).name: clips.models[model.name].samples for model in comparison.models}
)

# %% [markdown]
# ## The table
#
# Read a row from the right. The floor is the value of other real clips at this count: differences below it mean
# nothing. The interval says how much the number depends on the choice of clips. Only then look at the value.

# %%


def describe(name, metrics):
    """One line per metric: value, interval, floor."""
    for key, found in metrics.items():
        interval = " ... ".join(f"{end:.3g}" for end in found.get("interval") or ())
        floor = f"{found['floor']:.3g}" if found.get("floor") is not None else "none"
        print(f"{name:28} {key:10} {found['value']:8.3g}   interval {interval or 'none':16} floor {floor}")


for model in comparison.models:
    for draw in model.draws:
        describe(f"{Path(model.run).name}, {draw.steps} steps", draw.metrics)
for baseline in comparison.baselines:
    describe(f"baseline: {baseline['name']}", baseline["metrics"])

# %% [markdown]
# Three questions before "which is better":
#
# 1. *Do the intervals separate?* If not, the difference may be due to the choice of clips, and the page marks no best
#    value.
# 2. *Do both beat the baselines?* Noise is easy to beat, but eight steps of training are too few even for that. Frozen
#    frames are hard: they are real frames that never move,
#    so a network that looks at frames more than at motion likes them. A model that loses to them, as both do here,
#    has not been shown to generate video.
# 3. *What did each cost?* Training steps, parameters, seconds and arithmetic are in the record beside the numbers.

# %%
first = next(iter(comparison.models[0].draws[0].metrics))
for model in comparison.models:
    cost = (model.draws[0].flop_per_video or 0) / 1e9
    print(
        f"{Path(model.run).name:7} {model.training.steps} steps, {model.training.clips} clips, "
        f"{sum(model.parameters.values()):,} parameters, {cost:.2f} GFLOP a video"
    )
(a, b), (c, d) = (model.draws[0].metrics[first]["interval"] for model in comparison.models)
print("the intervals separate:", b < c or d < a)
show_curves(
    {Path(m.run).name: m.training.curves["val/loss"] for m in comparison.models}, "step", "validation loss"
)

# %% [markdown]
# ## Are samples memorised?
#
# A model that copies its training clips scores well. So each sample is shown with its nearest training clip.
# Here the samples are far from all of them: they are not good enough to be copies.

# %%
longer = comparison.models[-1]
print(
    "distance to the nearest training clip, grey levels:",
    [round(entry["distance"]) for entry in longer.nearest],
)
shown = clips.models[longer.name]
show_clips({"samples": shown.samples, "nearest training clips": shown.nearest})

# %% [markdown]
# `videodiff compare RUN RUN --out report` writes all this as one page with players on one clock, and as
# `results.json`, `.csv`, `.md` and `.tex`. Runs of different data or clips are refused, and a run that cannot be read
# is named and left out. [docs/numbers.md](../docs/numbers.md) says how the numbers are measured.

"""Help texts that need no imports: the important options, with their defaults."""

from __future__ import annotations

MAIN = """usage: videodiff COMMAND [options]

Train, sample and honestly compare video diffusion models.

commands:
  fit        train a model, or resume an interrupted run
  validate   loss on the validation clips
  test       loss on the test clips, and FVD and related metrics under a named protocol
  predict    continuations or reconstructions of the test clips, written to files
  generate   new videos, continuations, in-between frames, long videos
  evaluate   FVD and other distances between two folders of videos
  compare    trained models side by side: same clips, noise and protocol; tables and one page
  leaderboard train systems for equal seconds on several seeds, and rank them on one page
  prepare    check a data set, resize it once and write it in a form that is fast to read
  encode     write the first-stage latents of a data set once, so that the second stage trains faster
  import     turn a checkpoint published by PVDM, LVDM or video-diffusion-pytorch into a run
  export     write a run as a folder of safetensors, config and model card; push it to the hub
  models     list the models and configs that come with videodiff
  info       parameters, FLOPs, memory, largest batch and training hours of a config, without allocating it
  doctor     check this installation, GPUs, codecs and disk
  demo       train on the built-in digits, generate clips, and write a page that compares the models
  new-model  write a network, a config and a test for a model of your own, ready to run
  completion print a script that completes commands, options, configs and runs in bash, zsh or fish

options:
  -h, --help      this text; `videodiff COMMAND --help` for a command
  --version       version
  -v, --verbose   show the full traceback of an error (or VIDEODIFF_TRACEBACK=1)

exit codes: 0 done, 1 failed, 2 usage or bad input, 130 or 143 interrupted (checkpoint written first)

start here:
  videodiff fit --config vdm_digits
  videodiff generate --ckpt_path runs/vdm_digits --num_samples 16"""

_TOPS = {
    "fit": (
        "Train a model. A --config describes a whole run; later configs and single options override it.",
        "videodiff fit --config vdm_digits --config with/small --trainer.max_steps 500",
    ),
    "validate": (
        "Loss of a trained model on the validation clips. Model and data come from the checkpoint.",
        "videodiff validate --ckpt_path runs/vdm_digits/1",
    ),
    "test": (
        "Loss of a trained model on the test clips, and generated clips against real ones under a named protocol.\n"
        "Model and data come from the checkpoint.",
        "videodiff test --ckpt_path runs/vdm_digits/1/best --num_clips 64",
    ),
    "predict": (
        "Continuations of the test clips (of an autoencoder: reconstructions), written to files. Model and data come\n"
        "from the checkpoint.",
        "videodiff predict --ckpt_path runs/vdm_digits/1",
    ),
}

_RUN = """
run:
  -c, --config FILE|NAME       YAML file or shipped name, repeatable; see `videodiff models`
{start}  --out DIR                    where to write (default: runs/<name>/<n>)
  --name NAME                  name of the run (default: that of the first config)
  --seed N                     seed of all random numbers (0)
  --trust MODULE               also allow classes of this module in configs, repeatable
  --print_config               print the merged config and stop
"""

_LOOK_START = (
    "  --ckpt_path RUN|FILE         run directory, RUN/best, RUN/last, a checkpoint file, or demo/NAME\n"
)

_FIT_START = """  --ckpt_path RUN|FILE         resume in a new run: same data, step and optimizer (a run directory,
                               RUN/best, RUN/last or a checkpoint file); `fit --out RUN` resumes RUN itself
  --init_from RUN|FILE|FOLDER  begin a new run at step 0 with only the (averaged) weights of a run, an import or an
                               export, and with its config if no --config is given. Weights of another size are
                               resized where there is a rule, and listed (docs/next_run.md)
"""

_FIT = """  --checkpoints DIR            folder for the run's checkpoints, e.g. on another disk; RUN/checkpoints becomes
                               a link to it, the only link in a run's folder that is written through
  --force                      resume although model or data differ from the checkpoint; start from weights
                               of which less than half fit, or of another first stage

training:
  --trainer.max_steps N        optimizer steps (100000)
  --trainer.max_time D:H:M:S   stop after this time (no limit)
  --budget.seconds N           stop after so many seconds of compute, those before an interruption counted (no limit)
  --trainer.accumulate_grad_batches N   micro-batches per optimizer step (1)
  --trainer.gradient_clip_val X         clip the gradient's norm (1.0)
  --trainer.val_check_interval N        steps between validations (1000)
  --model.optimizer.lr X       learning rate (1e-4)
  --model.compile true         compile the network's blocks (false)
  --ema.decay X                decay of the weight average (0.9999)
"""

_TEST = """
generated clips against real ones (the record goes to RUN/eval; see docs/evaluation.md):
  --protocol P                 evaluator, random, styleganv, tf_original, videogpt, pvdm, lvdm, tats, vdm, digan, latte,
                               P:128, P:switch=value or none (built-in data: evaluator; else styleganv). Predictions:
                               vdm_bair, vdm_kinetics600, P:given=N (:draws=D:best_of=K:context=truth)
  --num_clips N                real and generated clips, N of each (the protocol's); with fewer, the result says so
  --loss false                 only the generated clips, without the loss over the test clips (true)
  --inception                  also the inception score of C3D, for UCF-101
  --clip_model DIR             folder of CLIP as transformers saves it: also the similarity of frames to the words that
                               clips were told, and of successive frames
  --against RUN|FILE           show the numbers of another run's test, or of its record, beside the new ones; refused if
                               they were not measured in the same way
"""

_PREDICT = """
  --given N                    first frames of each clip that the model continues (a quarter, or what it can be given)
"""

_TOLD = {
    "test": "conditions of the generated clips",
    "predict": "conditions of the predicted clips, beside their own first frames",
}

_SHARED = """
devices:
  --trainer.accelerator NAME   auto, cpu or gpu (auto)
  --trainer.devices N          devices per node (auto)
  --trainer.num_nodes N        nodes (1)
  --trainer.strategy NAME      auto or ddp (auto)
  --trainer.precision NAME     bf16-mixed, 32-true, ... (bf16-mixed on CUDA, else 32-true)

model and data:
  --model CLASS                model by name, e.g. VDM
  --model.net.width N          any argument of any part, by its path
  --model.sampler.num_steps N  sampler steps
  --data.root DIR              folder of videos to use instead of the config's data
  --data.num_frames N          frames per clip
  --data.resolution N|HxW      height and width in pixels, one number for a square
  --data.batch_size N          clips per optimizer step over all devices
  --data.num_workers N         loader processes per device (2)
  --data.latents DIR           train a second stage on latents written by `videodiff encode`

help:
  --help=all                   every option of Trainer, model and data
  --model.help CLASS           options of one class
"""


def verb(name: str) -> str:
    """The short help of fit, validate, test or predict."""
    first, example = _TOPS[name]
    extra = {"fit": _FIT, "test": _TEST, "predict": _PREDICT}.get(name, "")
    if name in ("test", "predict"):
        from videodiff.cli.condition import help_lines

        extra += f"\n{_TOLD[name]}:\n{help_lines()}"
    run = _RUN.format(start=_FIT_START if name == "fit" else _LOOK_START)
    return f"usage: videodiff {name} [options]\n\n{first}\n{run}{extra}{_SHARED}\nexample:\n  {example}"


def full(name: str, words: list[str]) -> int:
    """Print every option of a verb (``--help=all``), or those of one class (``--model.help VDM``).

    Raises:
        UsageError: without the class, or for one that a config may not name.
    """
    from videodiff.usage import UsageError

    asked = next((at for at, word in enumerate(words) if word.partition("=")[0].endswith(".help")), None)
    arguments = ["--help"]
    if asked is not None:
        option, _, class_path = words[asked].partition("=")
        class_path = class_path or (words[asked + 1] if asked + 1 < len(words) else "")
        if not class_path or class_path.startswith("-"):
            raise UsageError(
                f"{option} needs a class, e.g. {option} {'VideoDataModule' if 'data' in option else 'VDM'}"
            )
        from videodiff.config import trust

        trust.check_class_path(class_path)
        arguments = [option, class_path if "." in class_path else trust.full_path(class_path)]
    from videodiff.cli.lightning import RunCLI

    RunCLI(name, None, arguments)  # prints and exits
    return 0

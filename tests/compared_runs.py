"""What tests of comparisons do to runs and records."""

import yaml

from videodiff.checkpoints import load_checkpoint, save_checkpoint


def relabel(run, max_steps=None, **data):
    """Change the config stored in a run's checkpoints."""
    for file in (run / "checkpoints").glob("*.ckpt"):
        checkpoint = load_checkpoint(file)
        config = yaml.safe_load(checkpoint["videodiff"]["config"])
        config["data"]["init_args"].update(data)
        if max_steps is not None:
            config["trainer"]["max_steps"] = max_steps
        checkpoint["videodiff"]["config"] = yaml.safe_dump(config)
        file.unlink()
        save_checkpoint(checkpoint, file)


def without_timing(node):
    """A record without what another run of the same comparison need not repeat."""
    if isinstance(node, dict):
        return {key: without_timing(value) for key, value in node.items() if key != "timing"}
    return [without_timing(value) for value in node] if isinstance(node, list) else node

"""The commands, one file each; ``run(words)`` gives the exit code."""

"""The ``videodiff`` command."""

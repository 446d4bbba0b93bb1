"""Configs: found, read, merged, checked, built, and what they may name."""

from videodiff.config.build import BuildError, build, build_data, build_model, without_latents
from videodiff.config.check import check_config
from videodiff.config.loader import find_config, load_yaml, parse_config, shipped_configs
from videodiff.config.merge import merge
from videodiff.config.read import Stored, check_options, check_texts, read_configs

__all__ = [
    "BuildError",
    "Stored",
    "build",
    "build_data",
    "build_model",
    "check_config",
    "check_options",
    "check_texts",
    "find_config",
    "load_yaml",
    "merge",
    "parse_config",
    "read_configs",
    "shipped_configs",
    "without_latents",
]

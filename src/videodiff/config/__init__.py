"""Configs: found, read, merged, checked, and what they may name."""

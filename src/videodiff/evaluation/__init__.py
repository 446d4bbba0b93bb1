"""From samples to something one can judge."""

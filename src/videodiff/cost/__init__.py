"""The cost of training and sampling, counted on tensors without memory: FLOP, bytes, largest batch, hours."""

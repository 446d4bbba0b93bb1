"""What training and sampling cost, counted on tensors without memory: FLOP, bytes, largest batch, hours."""

"""Training: what is drawn and packed, the loop, its checkpoints and what it reports. It knows nothing of ESPnet."""

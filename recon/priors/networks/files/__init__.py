"""Network folders: weights in safetensors, architecture, card."""

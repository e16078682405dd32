"""Packaged denoisers, one folder each: config.toml, weights.safetensors, card.json, certificate.json."""

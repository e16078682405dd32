"""Packaged denoisers, one folder each: config.toml, weights.safetensors, card.md, certificate.json."""

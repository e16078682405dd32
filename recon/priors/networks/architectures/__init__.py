"""Networks that are firmly nonexpansive by construction or by training."""

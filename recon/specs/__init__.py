"""Text and TOML to operators, priors and configurations."""

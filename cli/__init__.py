"""The `recon` command: one file a sub-command; wiring only (parse, call, print)."""

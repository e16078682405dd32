"""The chain: read, operator, prior, method, certificate, solve, write."""

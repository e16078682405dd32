"""One run: problem, plan, solve, write, record, replay."""

"""A solver with an operator, a prior, a theorem and a step size."""

"""Which layers stay in float: what graphs cost, guesses, trials and their Pareto front."""

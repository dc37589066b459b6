"""Published problems and experiments, and the classical methods beside them."""

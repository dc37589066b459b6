def load_problem(path): raise NotImplementedError

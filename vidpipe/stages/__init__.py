"""One file per stage: a declaration and a function; and the contract, graph and registry of stages."""

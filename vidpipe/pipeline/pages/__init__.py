"""The pages that a home serves, Dagster's and the measures, behind one guard and one set of limits."""

"""The guard and the limits of the pages."""

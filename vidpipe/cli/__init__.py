"""The `vidpipe` command: one file a command. What costs time to load is imported where it is used."""

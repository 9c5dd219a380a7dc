"""A copy of the library in an SQL database: `tables` says what it contains, `sync` keeps it up to date."""

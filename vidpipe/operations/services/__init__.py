"""The servers of a home: started by command line, supervised, found again, stopped."""

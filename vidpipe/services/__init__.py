"""The servers of a home: started, found again, stopped."""

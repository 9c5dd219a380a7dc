"""Hostile files, pages and servers, and what vidpipe must do with them: nothing hangs, leaks or leads inside."""

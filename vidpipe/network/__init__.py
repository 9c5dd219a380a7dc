"""What downloads and the model client share: guarded connections, HTTP responses and errors, the retry policy."""

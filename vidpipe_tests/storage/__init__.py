"""Tests of vidpipe.storage."""

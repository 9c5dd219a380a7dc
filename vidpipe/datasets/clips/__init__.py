"""Clips: parts of videos, cut once and addressed by their content."""

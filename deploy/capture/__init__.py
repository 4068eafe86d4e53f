"""Collecting labelled pictures at the line, in the layout that training reads."""

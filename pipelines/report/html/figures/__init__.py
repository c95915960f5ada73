"""The pictures of the page, drawn by matplotlib as SVG. What each shows, spec.py states without it."""

"""Values as text, SVG and HTML."""

"""One file, or one folder, an architecture; and what their blocks offer to patches."""

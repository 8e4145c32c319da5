"""What the built-in model is shown: drawings of subjects, and captioned scenes composed of them."""

"""From a text and an image to what a model takes. Training and inference both come here."""

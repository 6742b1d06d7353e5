"""From a text and an image to a model's inputs. Training and inference share this code."""

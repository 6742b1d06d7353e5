"""What moved a prediction, measured by predicting the pair again without parts of it."""

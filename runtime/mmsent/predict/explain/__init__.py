"""What moved a prediction: measured by predicting the pair again with parts of it left out."""

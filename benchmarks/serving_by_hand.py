"""A service as a user would write it: FastAPI, a `def` endpoint, SentimentModel. See serving.py.

python benchmarks/serving_by_hand.py BUNDLE PORT
"""

import sys

import uvicorn
from fastapi import FastAPI, File, Form, UploadFile

from mmsent import SentimentModel

app = FastAPI()
model = SentimentModel(sys.argv[1])


@app.post("/predict")
def predict(text: str = Form(), image: UploadFile = File()) -> dict[str, object]:  # noqa: B008
    prediction = model.predict(text, image.file.read())
    return {"label": prediction.label, "probabilities": prediction.probabilities}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]))

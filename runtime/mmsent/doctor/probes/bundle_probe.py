"""A bundle: opened, and asked for a prediction."""

from __future__ import annotations

from pathlib import Path

from mmsent.doctor.child import Tell


def probe(tell: Tell, path: str) -> None:
    """Open the bundle at ``path`` and predict a pair, alone and beside another one."""
    tell(doing="importing mmsent")
    import numpy as np

    from mmsent.bundle.seal import is_whole
    from mmsent.errors import InputError
    from mmsent.inputs.image import load_image
    from mmsent.predict.model import SentimentModel

    tell(doing="opening the bundle")
    try:
        model = SentimentModel(path)
    except InputError as error:
        tell(error=str(error))
        return
    tell(
        model=model.info.model,
        precision=model.info.precision,
        labels=list(model.labels),
        provenance=model.info.provenance,
    )
    tell(doing="reading all of the bundle")
    tell(whole=is_whole(Path(path)))
    tell(doing="predicting")
    ramp = np.arange(96, dtype=np.uint8).reshape(8, 12, 1).repeat(3, axis=2)
    texts = ["what a day", "a much longer text, which pads the other one"]
    try:
        ids = model.encode(texts)
        pixels = np.stack([load_image(image, model.info.image) for image in (ramp, ramp[::-1])])
        _, alone = model.run(ids[:1], pixels[:1])
        _, together = model.run(ids, pixels)
    except Exception as error:  # whatever a damaged graph drives ONNX Runtime to
        tell(error=f"it can't predict ({type(error).__name__}: {error})")
        return
    tell(
        label=model.labels[int(alone[0].argmax())],
        probabilities=alone[0].tolist(),
        beside=together[0].tolist(),
    )

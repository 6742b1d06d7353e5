"""Third-party clients and checkers: Triton's HTTP client, and schemathesis.

pip install 'tritonclient[http]' schemathesis
"""

import subprocess
import sys

import numpy as np
import pytest

from mmsent import SentimentModel
from tests.runtime.serve.conftest import png

pytest.importorskip("starlette")

from tests.runtime.serve.client import opened

pytestmark = pytest.mark.slow

TEXTS = ["a fun day", "rain", "größer"]
IMAGES = [png(20), png(240), png()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("binary_input", [False, True])
@pytest.mark.parametrize("binary_output", [False, True])
def test_tritons_client(small, binary_input, binary_output):
    triton = pytest.importorskip("tritonclient.http")
    with opened(small=small) as client:
        server = triton.InferenceServerClient(f"127.0.0.1:{client.port}", network_timeout=30)
        assert server.is_server_live()
        assert server.is_server_ready()
        assert server.is_model_ready("small")
        assert not server.is_model_ready("none")
        assert server.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        metadata = server.get_model_metadata("small")
        assert [item["name"] for item in metadata["inputs"]] == ["text", "image"]
        text = triton.InferInput("text", [3], "BYTES")
        text.set_data_from_numpy(np.array(TEXTS, object), binary_data=binary_input)
        inputs = [text]
        if binary_input:  # in JSON, the client supports only texts
            image = triton.InferInput("image", [3], "BYTES")
            image.set_data_from_numpy(np.array(IMAGES, object), binary_data=True)
            inputs.append(image)
        outputs = [
            triton.InferRequestedOutput(name, binary_data=binary_output)
            for name in ("label", "probabilities", "logits")
        ]
        wanted = SentimentModel(small).predict(TEXTS, IMAGES if binary_input else None)
        for asked in (outputs, None):
            result = server.infer("small", inputs, outputs=asked, request_id="seven")
            labels = [
                value.decode() if isinstance(value, bytes) else value
                for value in result.as_numpy("label")
            ]
            assert labels == [one.label for one in wanted]
            for name in ("probabilities", "logits"):
                rows = np.array([list(getattr(one, name).values()) for one in wanted])
                assert result.as_numpy(name) == pytest.approx(rows, abs=1e-6)
        with pytest.raises(triton.InferenceServerException, match="no model of that name"):
            server.infer("none", inputs)
        server.close()


def test_schemathesis(small, tmp_path):
    """Every response to valid and invalid requests conforms to the OpenAPI description."""
    pytest.importorskip("schemathesis")
    with opened(small=small) as client:
        done = subprocess.run(
            [
                sys.executable, "-c", "from schemathesis.cli import schemathesis as s; s()", "run",
                f"http://127.0.0.1:{client.port}/openapi.json",
                "--max-examples", "50", "--seed", "1",
                # A schema can't tell whether base64 decodes to an image.
                "--exclude-checks", "positive_data_acceptance",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

"""Predict Parquet files with Ray, on this machine or, unchanged, on a cluster.

python examples/ray_predict.py pairs.parquet predictions/ --model model.onnx

The input is a Parquet file or a folder of Parquet files with the columns guid, text and image, as
`mmsent pack` writes them. The output is a folder of Parquet files with the predictions. On a
cluster, every machine must be able to read all three paths. RAY_ADDRESS names the cluster; without
it, Ray starts on this machine.
"""

import argparse
import os

import ray

import mmsent.ray

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("pairs")
parser.add_argument("output")
parser.add_argument("--model", default="model.onnx")
parser.add_argument("--actors", type=int, help="[default: one per CPU]")
parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
options = parser.parse_args()

pairs = ray.data.read_parquet(os.path.abspath(options.pairs))
predictions = mmsent.ray.predict(
    pairs, os.path.abspath(options.model), concurrency=options.actors, device=options.device
)
# Leave the images out; a query engine can join them by guid.
predictions.drop_columns(["text", "image"]).write_parquet(os.path.abspath(options.output))

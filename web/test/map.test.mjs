/** The page's map compared with Python's, which is drawn into HTML and PNG. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { smoothMap, strongestCells } from "../../runtime/mmsent/serve/page/map.js";
import { python } from "./service.mjs";

const PROGRAM = `
import json, sys
from mmsent.predict.explain.patches import smooth_map
from mmsent.predict.explain.rendering import strongest_cells
regions, height, width = json.loads(sys.argv[1])
cells = [cell._asdict() for cell in strongest_cells(regions)]
print(json.dumps({"points": smooth_map(regions, height, width).ravel().tolist(), "cells": cells}))`;

const CASES = [
  ["the usual grid", [[0.5, -1.25, 0.001], [0, 0.75, 2], [-3, 0.1, 0.2]], 11, 17],
  ["one cell", [[-0.5]], 3, 4],
  ["fewer points than cells", [[1, -2, 3], [4, 5, -6], [7, 8, 9]], 2, 1],
  ["nothing to mark", [[0.004, -0.004], [0, 0]], 5, 5],
];

for (const [name, regions, height, width] of CASES) {
  test(`the map of ${name} is Python's`, async () => {
    const wanted = JSON.parse(await python("-c", PROGRAM, JSON.stringify([regions, height, width])));
    const points = smoothMap(regions, height, width);
    assert.equal(points.length, wanted.points.length);
    points.forEach((value, i) => assert.ok(Math.abs(value - wanted.points[i]) < 1e-12, `point ${i}`));
    assert.deepEqual(strongestCells(regions), wanted.cells);
  });
}

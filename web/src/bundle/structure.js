/**
 * Checks the structure of an ONNX file before ONNX Runtime opens it, and reads its metadata.
 *
 * The same checks as Python's `mmsent.bundle.structure`. The numbers are field numbers in onnx.proto,
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The encoding of fields:
 * https://protobuf.dev/programming-guides/encoding/.
 */

import { InputError } from "../errors.js";

/** Larger files are refused; protobuf does not support them. */
export const MAX_BYTES = 2 ** 31 - 1;
const MAX_METADATA = 1 << 26;
const MAX_FIELDS = 1_000_000;
const MAX_DEPTH = 50;

// Loops may never end, and bundles have none.
const REFUSED_OPERATORS = ["Loop", "Scan"];
// The key of the file name of external data.
const SUSPICIOUS = ["location", ...REFUSED_OPERATORS].map((word) => new TextEncoder().encode(word));

const MODEL_GRAPH = 7;
const MODEL_METADATA = 14;
const MODEL_KNOWN = new Set([1, 2, 3, 4, 5, 6, 7, 8, MODEL_METADATA]); // not training_info, functions
const NODE_OPERATOR = 4;
const TENSOR_EXTERNAL_DATA = 13;
const TENSOR_DATA_LOCATION = 14;

/**
 * Fields of a message that hold other messages: kind -> field -> kind.
 * @type {Record<string, Record<number, string>>}
 */
const PARTS = {
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse" },
  sparse: { 1: "tensor", 2: "tensor" },
  tensor: {},
};

/**
 * The metadata of an ONNX model. Throws InputError if the file is not one or is unsafe: if it keeps
 * tensors in other files, has loops or functions, or more than 64 MiB of metadata.
 * @param {Uint8Array} content
 * @param {string} name in messages
 * @returns {Map<string, string>}
 */
export function readStructure(content, name) {
  checkSize(content.length, name);
  try {
    return new Walk(content).model();
  } catch (error) {
    if (error instanceof TypeError) {
      throw new InputError(`${name}: its names or metadata are not UTF-8 (${error.message})`);
    }
    if (!(error instanceof Malformed)) throw error;
    throw new InputError(`${name} can't be opened as an ONNX model (${error.message})`);
  }
}

/**
 * @param {number} size in bytes
 * @param {string} name
 */
export function checkSize(size, name) {
  if (size > MAX_BYTES) {
    throw new InputError(`${name} is larger than 2 GiB, the maximum size of an ONNX model`);
  }
  if (size === 0) throw new InputError(`${name} is empty; it can't be opened as an ONNX model`);
}

class Malformed extends Error {}

class Walk {
  /** @param {Uint8Array} content */
  constructor(content) {
    this.content = content;
    this.fields = 0;
    this.place = 0;
    this.utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  }

  model() {
    const found = new Map();
    let metadata = 0;
    let graphs = 0;
    for (const [number, begin, end] of this.read(0, this.content.length)) {
      if (!MODEL_KNOWN.has(number)) throw new Malformed(`it has the field ${number}, which no bundle has`);
      if (number === MODEL_GRAPH) {
        this.message("graph", begin, end, 0);
        graphs += 1;
        continue;
      }
      metadata += end - begin;
      if (number === MODEL_METADATA) this.entry(begin, end, found);
    }
    if (metadata > MAX_METADATA) {
      throw new Malformed(`it has ${metadata} bytes of metadata, more than ${MAX_METADATA}`);
    }
    if (!graphs) throw new Malformed("it has no graph");
    return found;
  }

  /**
   * @param {number} begin
   * @param {number} end
   * @param {Map<string, string>} found
   */
  entry(begin, end, found) {
    let key = "";
    let value = "";
    for (const [number, first, last] of this.read(begin, end)) {
      const text = this.content.subarray(first, last);
      if (number === 1) key = this.utf8.decode(text);
      if (number === 2) value = this.utf8.decode(text);
    }
    found.set(key, value);
  }

  /**
   * Check a message of a kind, and the messages in it.
   * @param {string} kind
   * @param {number} begin
   * @param {number} end
   * @param {number} depth
   */
  message(kind, begin, end, depth) {
    if (depth > MAX_DEPTH) throw new Malformed("its graphs are nested too deeply");
    for (const [number, first, last] of this.read(begin, end)) {
      if (kind === "tensor" && (number === TENSOR_EXTERNAL_DATA || number === TENSOR_DATA_LOCATION)) {
        const here = number === TENSOR_DATA_LOCATION && last === first + 1 && !this.content[first];
        if (here) continue;
        throw new Malformed("it keeps tensors in other files, but a bundle is one file");
      }
      if (kind === "node" && number === NODE_OPERATOR) {
        const operator = String.fromCharCode(...this.content.subarray(first, Math.min(last, first + 16)));
        if (REFUSED_OPERATORS.includes(operator)) {
          throw new Malformed(`it has the operator ${operator}, which no bundle has`);
        }
      }
      const inner = PARTS[kind]?.[number];
      if (!inner || (inner === "node" && !this.suspicious(first, last))) continue;
      this.message(inner, first, last, depth + 1);
    }
  }

  /**
   * Whether the fields of a node must be read; a search is faster.
   * @param {number} begin
   * @param {number} end
   */
  suspicious(begin, end) {
    const node = this.content.subarray(begin, end);
    return SUSPICIOUS.some((word) => contains(node, word));
  }

  /**
   * The fields between two offsets: number, and start and end of the value.
   * @param {number} begin
   * @param {number} end
   * @returns {Generator<[number, number, number]>}
   */
  *read(begin, end) {
    let place = begin;
    while (place < end) {
      if (++this.fields > MAX_FIELDS) throw new Malformed(`it has more than ${MAX_FIELDS} fields`);
      const tag = this.varint(place, end);
      // ONNX Runtime ignores the upper bits, so it would read another field.
      if (tag >= 2 ** 32) throw new Malformed("it is not a protobuf message");
      const wire = tag % 8;
      let first = this.place;
      let stop = first;
      if (wire === 2) {
        stop = this.varint(first, end);
        first = this.place;
        stop += first;
      } else if (wire === 0) {
        this.varint(first, end);
        stop = this.place;
      } else if (wire === 1 || wire === 5) {
        stop = first + (wire === 1 ? 8 : 4);
      } else {
        throw new Malformed("it is not a protobuf message");
      }
      if (stop > end) throw new Malformed("it is truncated");
      yield [Math.floor(tag / 8), first, stop];
      place = stop;
    }
  }

  /**
   * The number at the offset `place`; `this.place` is then the offset after it. Lengths over 2 ** 53
   * lose digits, but are too large either way.
   * @param {number} place
   * @param {number} end
   */
  varint(place, end) {
    let value = 0;
    for (let shift = 0; place < end && shift < 70; shift += 7) {
      const byte = /** @type {number} */ (this.content[place++]);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        this.place = place;
        return value;
      }
    }
    throw new Malformed("it is truncated");
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {Uint8Array} word
 */
function contains(bytes, word) {
  const [head = 0] = word;
  for (let at = bytes.indexOf(head); at >= 0; at = bytes.indexOf(head, at + 1)) {
    if (word.every((byte, i) => bytes[at + i] === byte)) return true;
  }
  return false;
}

// The one way to write an OV1 value and the only way to read it: deterministic CBOR (RFC 8949 section 4.2).
//
// Only arrays, integers of 0..2^53-1 (a Number), byte strings (Uint8Array) and text exist. Bytes that are no CBOR, or
// hold anything else anywhere, are OV_MALFORMED; well-formed bytes that a deterministic encoder would write otherwise
// (long heads, indefinite lengths, bytes after the end) are OV_NON_CANONICAL. As offline/cbor.py.

import { joined } from "./bytes.js";
import { malformed, Refused, Verdict } from "./verdicts.js";

const UINT = 0;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const BREAK = 0xff;
const INDEFINITE = 31;
const MAX_DEPTH = 6;

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function head(major, argument) {
  const top = major << 5;
  if (argument < 24) return Uint8Array.of(top | argument);
  if (argument < 0x100) return Uint8Array.of(top | 24, argument);
  const size = argument < 0x10000 ? 2 : argument < 0x100000000 ? 4 : 8;
  const out = new DataView(new ArrayBuffer(1 + size));
  out.setUint8(0, top | (size === 2 ? 25 : size === 4 ? 26 : 27));
  if (size === 2) out.setUint16(1, argument);
  else if (size === 4) out.setUint32(1, argument);
  else out.setBigUint64(1, BigInt(argument));
  return new Uint8Array(out.buffer);
}

/** The deterministic bytes of an array. The caller passes only what OV1 has. */
export function encode(value) {
  if (Number.isSafeInteger(value) && value >= 0) return head(UINT, value);
  if (value instanceof Uint8Array) return joined(head(BYTES, value.length), value);
  if (typeof value === "string") {
    const letters = utf8.encode(value);
    return joined(head(TEXT, letters.length), letters);
  }
  if (Array.isArray(value)) return joined(head(ARRAY, value.length), ...value.map(encode));
  return malformed("not of OV1");
}

class Reader {
  constructor(data) {
    this.data = data;
    this.at = 0;
    this.canonical = true;
  }

  take(size) {
    if (size > this.data.length - this.at) malformed("cut short");
    this.at += size;
    return this.data.subarray(this.at - size, this.at);
  }

  /** {major, argument}; argument is null for an indefinite length, Infinity above 2^53-1. */
  head() {
    const first = this.take(1)[0];
    const major = first >> 5;
    const short = first & 31;
    if (![UINT, BYTES, TEXT, ARRAY].includes(major)) malformed("not of OV1");
    if (short < 24) return { major, argument: short };
    if (short === INDEFINITE) {
      if (major === UINT) malformed("integer of no length");
      this.canonical = false;
      return { major, argument: null };
    }
    if (short > 27) malformed("reserved head");
    const size = 1 << (short - 24);
    const argument = this.take(size).reduce((sum, byte) => sum * 0x100 + byte, 0);
    if (argument < [24, 0x100, 0x10000, 0x100000000][short - 24]) this.canonical = false;
    return { major, argument: Number.isSafeInteger(argument) ? argument : Infinity };
  }

  item(depth) {
    const { major, argument } = this.head();
    if (major === ARRAY) return this.array(argument, depth + 1);
    if (major === UINT) return argument === Infinity ? malformed("integer out of range") : argument;
    return argument === null ? this.chunks(major) : this.string(major, argument);
  }

  string(major, size) {
    const data = this.take(size);
    if (major === BYTES) return data.slice();
    try {
      return strictUtf8.decode(data);
    } catch {
      return malformed("no UTF-8");
    }
  }

  ends() {
    if (this.data[this.at] !== BREAK) return false;
    this.at += 1;
    return true;
  }

  chunks(major) {
    const parts = [];
    while (!this.ends()) {
      const chunk = this.head();
      if (chunk.major !== major || chunk.argument === null) malformed("chunk");
      parts.push(this.string(major, chunk.argument));
    }
    return major === TEXT ? parts.join("") : joined(...parts);
  }

  array(size, depth) {
    if (depth > MAX_DEPTH && size !== 0) malformed("too deep");
    const items = [];
    while (size === null ? !this.ends() : items.length < size) items.push(this.item(depth));
    return items;
  }
}

/** The array that `data` is; throws Refused. */
export function decodeStrict(data) {
  const reader = new Reader(data);
  const value = reader.item(0);
  if (!Array.isArray(value)) malformed("no array");
  if (!reader.canonical || reader.at !== data.length) throw new Refused(Verdict.NON_CANONICAL, "re-encoding");
  return value;
}

/** The strict array of `count` items whose first is version 1; a later version's other shape is its own verdict. */
export function fields(data, count) {
  const items = decodeStrict(data);
  if (typeof items[0] !== "number") malformed("no version");
  if (items[0] !== 1) throw new Refused(Verdict.UNSUPPORTED_VERSION);
  if (items.length !== count) malformed(`${items.length} fields for ${count}`);
  return items;
}

// The text form of OV1 bytes: a prefix and base45 (RFC 9285), made for QR's alphanumeric mode.

import { MAX_TEXT } from "./fields.js";
import { malformed } from "./verdicts.js";

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

export function toText(prefix, data) {
  let out = prefix;
  for (let at = 0; at < data.length; at += 2) {
    const pair = at + 1 < data.length;
    const n = pair ? data[at] * 256 + data[at + 1] : data[at];
    out += LETTERS[n % 45] + LETTERS[Math.floor(n / 45) % 45];
    if (pair) out += LETTERS[Math.floor(n / 2025)];
  }
  return out;
}

/** The bytes behind an `OV1x:` text, taken exactly: no other prefix, case, space or line end. Throws Refused. */
export function fromText(prefix, text) {
  if (typeof text !== "string" || text.length > MAX_TEXT || !text.startsWith(prefix)) malformed("size or prefix");
  const digits = Array.from(text.slice(prefix.length), (letter) => LETTERS.indexOf(letter));
  if (digits.includes(-1) || digits.length % 3 === 1) malformed("base45");
  const out = [];
  for (let at = 0; at < digits.length; at += 3) {
    const whole = at + 2 < digits.length;
    const n = digits[at] + digits[at + 1] * 45 + (whole ? digits[at + 2] * 2025 : 0);
    if (n > (whole ? 0xffff : 0xff)) malformed("base45");
    if (whole) out.push(n >> 8);
    out.push(n & 0xff);
  }
  return Uint8Array.from(out);
}

// The types of single fields; each takes what the decoder gave and throws Refused(OV_MALFORMED).

import { malformed } from "./verdicts.js";

export const Size = Object.freeze({
  AID: 16, KID: 2, PAYEE: 8, TERMINAL: 4, NONCE: 8, PREV: 8, SERVER_NONCE: 16, HASH: 32, SIGNATURE: 64, EPOCH: 8,
});
export const MAX_COUNTER = 65_535;
/** The largest integer in OV1. */
export const MAX_UINT = Number.MAX_SAFE_INTEGER;
/** The most characters of a text, and the most bytes of a voucher, request, receipt or void. */
export const MAX_TEXT = 1_200;
export const Algorithm = Object.freeze({ ED25519: 0, P256: 1 });

const NAME_BYTES = 32;
// A fixed set, so that no two ends disagree by their Unicode version: C0, DEL, C1, the line and paragraph separators,
// and every bidi mark, embedding, override and isolate.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

export function uint(value, low = 0, high = MAX_UINT) {
  return Number.isSafeInteger(value) && low <= value && value <= high ? value : malformed("integer");
}

/** An amount: 1..2^53-1. */
export function positive(value) {
  return uint(value, 1);
}

export function octets(value, ...sizes) {
  return value instanceof Uint8Array && sizes.includes(value.length) ? value : malformed("byte string");
}

export function octetsTo(value, most) {
  return value instanceof Uint8Array && value.length <= most ? value : malformed("byte string");
}

export function within(data, most) {
  return data instanceof Uint8Array && data.length <= most ? data : malformed("size");
}

/** Text of low..high UTF-8 bytes. */
export function text(value, low = 1, high = 64) {
  if (typeof value !== "string" || !value.isWellFormed()) malformed("text");
  const size = new TextEncoder().encode(value).length;
  return low <= size && size <= high ? value : malformed("text");
}

export function array(value, most) {
  return Array.isArray(value) && value.length <= most ? value : malformed("array");
}

export function sized(value, size) {
  return Array.isArray(value) && value.length === size ? value : malformed(`not ${size} items`);
}

/** Three upper-case ASCII letters (ISO 4217 alphabetic). */
export function currency(value) {
  return typeof value === "string" && /^[A-Z]{3}$/.test(value) ? value : malformed("currency");
}

/** Key bytes of a length that names its algorithm; whether it is on the curve is asked by the signature check. */
export function publicKey(value) {
  const key = octets(value, 32, 33);
  return key.length === 33 && key[0] !== 2 && key[0] !== 3 ? malformed("P-256 point form") : key;
}

export function algorithmOf(key) {
  return key.length === 32 ? Algorithm.ED25519 : Algorithm.P256;
}

/** A display name: 1..32 UTF-8 bytes, NFC, without control or bidi characters. */
export function name(value) {
  const given = text(value, 1, NAME_BYTES);
  return given.normalize("NFC") === given && !HIDDEN.test(given) ? given : malformed("name");
}

// Points of the two curves, where WebCrypto leaves something to us: which Ed25519 encodings are canonical and of small
// order, whether a key is in the prime-order group, and the P-256 point behind a compressed key. Public values only:
// nothing here is constant-time, and no secret may come here.

import { joined, toHex } from "./bytes.js";

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

function modulo(value, prime) {
  const rest = value % prime;
  return rest < 0n ? rest + prime : rest;
}

function power(base, exponent, prime) {
  let [out, square] = [1n, modulo(base, prime)];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) out = (out * square) % prime;
    square = (square * square) % prime;
  }
  return out;
}

const number = (data) => BigInt(`0x${toHex(data)}`);
const littleEndian = (data) => number(data.slice().reverse());

function bytes32(value) {
  const text = value.toString(16).padStart(64, "0");
  return Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));
}

const D = modulo(-121665n * power(121666n, P - 2n, P), P);
const ROOT_OF_MINUS_ONE = power(2n, (P - 1n) / 4n, P);
/** y of the eight points whose order divides 8; each stands for both signs of x. */
const ORDER_8_Y = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
const SMALL_ORDER_Y = new Set([0n, 1n, P - 1n, ORDER_8_Y, P - ORDER_8_Y]);

function yOf(data) {
  return littleEndian(data) & ((1n << 255n) - 1n);
}

/** Whether these 32 bytes may stand as A or R of a signature: y below p, and not of small order. */
export function mayStand(data) {
  const y = yOf(data);
  return y < P && !SMALL_ORDER_Y.has(y);
}

/** Whether S, little-endian, is below the group's order. */
export function scalarBelowL(data) {
  return littleEndian(data) < L;
}

/** [X, Y, Z, T] with x = X/Z, y = Y/Z, xy = T/Z; null when y is no point's. */
function decompress(data) {
  const y = yOf(data);
  const u = modulo(y * y - 1n, P);
  const v = modulo(D * y * y + 1n, P);
  let x = modulo(u * power(v, 3n, P) * power(u * power(v, 7n, P), (P - 5n) / 8n, P), P);
  if (modulo(v * x * x, P) !== u) x = modulo(x * ROOT_OF_MINUS_ONE, P);
  if (modulo(v * x * x, P) !== u) return null;
  if ((x & 1n) !== BigInt(data[31] >> 7)) x = modulo(-x, P);
  return [x, y, 1n, modulo(x * y, P)];
}

function add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const a = (y1 - x1) * (y2 - x2);
  const b = (y1 + x1) * (y2 + x2);
  const c = 2n * t1 * t2 * D;
  const d = 2n * z1 * z2;
  const [e, f, g, h] = [b - a, d - c, d + c, b + a].map((value) => modulo(value, P));
  return [e * f, g * h, f * g, e * h].map((value) => modulo(value, P));
}

function times(scalar, point) {
  let [out, doubled] = [[0n, 1n, 1n, 0n], point];
  for (let rest = scalar; rest > 0n; rest >>= 1n) {
    if (rest & 1n) out = add(out, doubled);
    doubled = add(doubled, doubled);
  }
  return out;
}

/** Whether an Ed25519 key is a canonical point of the prime-order group: neither of small nor of mixed order. */
export function inPrimeGroup(key) {
  const point = mayStand(key) ? decompress(key) : null;
  if (point === null) return false;
  const [x, y, z] = times(L, point);
  return x === 0n && y === z;
}

const P256 = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const P256_B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

/** The 65 uncompressed bytes behind a 33-byte P-256 key; null when it is no point of the curve. */
export function p256Uncompressed(key) {
  if (key.length !== 33 || (key[0] !== 2 && key[0] !== 3)) return null;
  const x = number(key.subarray(1));
  if (x >= P256) return null;
  const square = modulo(x * x * x - 3n * x + P256_B, P256);
  const root = power(square, (P256 + 1n) / 4n, P256);
  if ((root * root) % P256 !== square) return null;
  const y = (root & 1n) === BigInt(key[0] & 1) ? root : P256 - root;
  return joined(Uint8Array.of(4), key.subarray(1), bytes32(y));
}

/** The 33 compressed bytes of a 65-byte P-256 point. */
export function p256Compressed(point) {
  return joined(Uint8Array.of(2 + (point[64] & 1)), point.subarray(1, 33));
}

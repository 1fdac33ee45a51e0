// What each OV1 signature is over, and how one is made and checked by WebCrypto: as offline/signing.py.
//
// `message.voucher(...)` and its like are what is signed: one CBOR array ["OV1", kind, ...]. Ed25519 is cofactorless
// with S < L, canonical A and R, and no small-order A or R; a browser takes some of those, so they are asked here
// first. P-256 is ECDSA with SHA-256, the key a compressed point, the signature raw r||s with either s.

import { encode } from "./cbor.js";
import { Algorithm, Size, algorithmOf } from "./fields.js";
import { inPrimeGroup, mayStand, p256Compressed, p256Uncompressed, scalarBelowL } from "./points.js";

const OV1 = "OV1";
const { subtle } = globalThis.crypto;
const ECDSA = { name: "ECDSA", hash: "SHA-256" };

export { algorithmOf };

export async function sha256(data) {
  return new Uint8Array(await subtle.digest("SHA-256", data));
}

export const message = Object.freeze({
  allowance: (kid, allowanceRaw) => encode([OV1, "A", kid, allowanceRaw]),
  voucher: async (allowanceRaw, voucherRaw) => encode([OV1, "V", await sha256(allowanceRaw), voucherRaw]),
  certificate: (kid, certRaw) => encode([OV1, "C", kid, certRaw]),
  request: async (certRaw, requestRaw) => encode([OV1, "R", await sha256(certRaw), requestRaw]),
  receipt: async (certRaw, receiptRaw) => encode([OV1, "P", await sha256(certRaw), receiptRaw]),
  void: async (certRaw, voidRaw) => encode([OV1, "X", await sha256(certRaw), voidRaw]),
  syncRequest: async (terminal, serverNonce, body) => encode([OV1, "S", terminal, serverNonce, await sha256(body)]),
  syncAnswer: async (kid, terminal, serverNonce, body, answer) =>
    encode([OV1, "Y", kid, terminal, serverNonce, await sha256(body), await sha256(answer)]),
  beacon: (kid, terminal, nonce, ts) => encode([OV1, "B", kid, terminal, nonce, ts]),
  revocations: (kid, listRaw) => encode([OV1, "L", kid, listRaw]),
  bundle: (rootKid, bundleRaw) => encode([OV1, "T", rootKid, bundleRaw]),
  /** Z by the device key: counter, cum and h of its last reserved payload (0, 0, 32 zeros: none). */
  surrender: async (allowanceRaw, counter, cum, h) => encode([OV1, "Z", await sha256(allowanceRaw), counter, cum, h]),
  /** E by the new key: `role` is "terminal" or "payer", `subject` the pairing code or party id. */
  enrolment: (role, serverNonce, key, subject) => encode([OV1, "E", role, serverNonce, key, subject]),
});

/** h: what dedupe, evidence, receipts and voids name. It binds A and V, not the signatures. */
export async function voucherHash(allowanceRaw, voucherRaw) {
  return sha256(await message.voucher(allowanceRaw, voucherRaw));
}

export async function allowanceCacheKey(kid, allowanceRaw, sigA) {
  return sha256(encode([kid, allowanceRaw, sigA]));
}

async function imported(raw, algorithm) {
  try {
    return await subtle.importKey("raw", raw, algorithm, false, ["verify"]);
  } catch {
    return null; // no point of the curve
  }
}

/** Whether `sig` (64 bytes) over the message is by `key`. Wrong sizes and bad keys are false. */
export async function verifySignature(alg, key, data, sig) {
  if (sig.length !== Size.SIGNATURE) return false;
  if (alg === Algorithm.ED25519) {
    if (key.length !== 32 || !mayStand(key) || !mayStand(sig.subarray(0, 32))) return false;
    if (!scalarBelowL(sig.subarray(32))) return false;
    const held = await imported(key, "Ed25519");
    return held !== null && subtle.verify("Ed25519", held, sig, data);
  }
  const point = p256Uncompressed(key);
  const held = point && (await imported(point, { name: "ECDSA", namedCurve: "P-256" }));
  return held !== null && subtle.verify(ECDSA, held, sig, data);
}

/** Whether enrolment may take `key`: its length names an algorithm and the point is a sound one. */
export function checkPublicKey(key) {
  return key.length === 32 ? inPrimeGroup(key) : p256Uncompressed(key) !== null;
}

/** A key pair whose private half this browser will not give out, also not to us. */
export async function newKey(alg = Algorithm.ED25519) {
  return alg === Algorithm.ED25519
    ? subtle.generateKey("Ed25519", false, ["sign", "verify"])
    : subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
}

/** The 32 or 33 bytes by which OV1 names the key. */
export async function publicBytes(pair) {
  const raw = new Uint8Array(await subtle.exportKey("raw", pair.publicKey));
  return raw.length === 65 ? p256Compressed(raw) : raw;
}

export async function sign(pair, data) {
  const how = pair.privateKey.algorithm.name === "ECDSA" ? ECDSA : "Ed25519";
  return new Uint8Array(await subtle.sign(how, pair.privateKey, data));
}

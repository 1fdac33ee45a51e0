// The signed forms that travel: bytes over NFC, BLE, file or HTTP, and `OV1x:` + base45 text for QR.
//
// Of each form `of(...parts)`, `fromBytes(data)`, `toBytes(signed)`, and of the four that are shown as a picture also
// `fromText(text)`, `toText(signed)`. Reading is a promise that rejects with Refused; signatures are not checked here.
// A value holds the raw parts that the signatures are over, and the decoded bodies beside them. As offline/wire.py.

import { fromText, toText } from "./base45.js";
import { equal } from "./bytes.js";
import { encode, fields } from "./cbor.js";
import { read } from "./codec.js";
import { MAX_TEXT, Size, octets, octetsTo, uint, within } from "./fields.js";
import { voucherHash } from "./signing.js";
import { malformed } from "./verdicts.js";

const MAX_BUNDLE = 8 * 1024;
export const MAX_REVOCATIONS = 128 * 1024;
const { freeze } = Object;

const kidOf = (value) => octets(value, Size.KID);
const sigOf = (value) => octets(value, Size.SIGNATURE);
const rawOf = (value) => octetsTo(value, MAX_TEXT);

/** kid, body, signature, body, signature: all sizes asked before any body is read. */
function six(data) {
  const f = fields(within(data, MAX_TEXT), 6);
  return [kidOf(f[1]), rawOf(f[2]), sigOf(f[3]), rawOf(f[4]), sigOf(f[5])];
}

function form(prefix, parts, of, toBytes) {
  const fromBytes = async (data) => of(...parts(data));
  if (prefix === null) return freeze({ of, fromBytes, toBytes });
  return freeze({
    prefix, of, fromBytes, toBytes,
    fromText: async (text) => fromBytes(fromText(prefix, text)),
    toText: (signed) => toText(prefix, toBytes(signed)),
  });
}

/** [1, kid, A, sigA]: what issue answers and the device keeps. */
export const SignedAllowance = form(
  null,
  (data) => {
    const f = fields(within(data, MAX_TEXT), 4);
    return [kidOf(f[1]), rawOf(f[2]), sigOf(f[3])];
  },
  async (kid, allowanceRaw, sigA) =>
    freeze({ kid: kidOf(kid), allowanceRaw, sigA: sigOf(sigA), allowance: read.allowance(allowanceRaw) }),
  (s) => encode([1, s.kid, s.allowanceRaw, s.sigA]),
);

/** `OV1V:` [1, kid, A, sigA, V, sigV]; `h` names it everywhere. */
export const SignedVoucher = form(
  "OV1V:",
  six,
  async (kid, allowanceRaw, sigA, voucherRaw, sigV) =>
    freeze({
      kid: kidOf(kid), allowanceRaw, sigA: sigOf(sigA), voucherRaw, sigV: sigOf(sigV),
      allowance: read.allowance(allowanceRaw), voucher: read.voucher(voucherRaw),
      h: await voucherHash(allowanceRaw, voucherRaw),
    }),
  (s) => encode([1, s.kid, s.allowanceRaw, s.sigA, s.voucherRaw, s.sigV]),
);

/** [1, kid, cert, sigCert, body, sig]: a terminal's word under its certificate. */
function certified(prefix, readBody) {
  return form(
    prefix,
    six,
    async (kid, certRaw, sigCert, bodyRaw, sig) =>
      freeze({
        kid: kidOf(kid), certRaw, sigCert: sigOf(sigCert), bodyRaw, sig: sigOf(sig),
        cert: read.certificate(certRaw), body: readBody(bodyRaw),
      }),
    (s) => encode([1, s.kid, s.certRaw, s.sigCert, s.bodyRaw, s.sig]),
  );
}

export const SignedRequest = certified("OV1R:", read.request);
export const SignedReceipt = certified("OV1P:", read.receipt);
export const SignedVoid = certified("OV1X:", read.void);

/** [1, root_kid, bundle, sig], signed by the root (T). */
export const SignedBundle = form(
  null,
  (data) => {
    const f = fields(within(data, MAX_BUNDLE), 4);
    return [kidOf(f[1]), octetsTo(f[2], MAX_BUNDLE), sigOf(f[3])];
  },
  async (rootKid, bundleRaw, sig) => {
    const bundle = read.bundle(bundleRaw);
    if (!equal(bundle.rootKid, rootKid)) malformed("root kid");
    return freeze({ rootKid, bundleRaw, sig: sigOf(sig), bundle });
  },
  (s) => encode([1, s.rootKid, s.bundleRaw, s.sig]),
);

/** [1, kid, list, sig], signed by an issuer key of usage L. */
export const SignedRevocations = form(
  null,
  (data) => {
    const f = fields(within(data, MAX_REVOCATIONS), 4);
    return [kidOf(f[1]), octetsTo(f[2], MAX_REVOCATIONS), sigOf(f[3])];
  },
  async (kid, listRaw, sig) =>
    freeze({ kid: kidOf(kid), listRaw, sig: sigOf(sig), revocations: read.revocations(listRaw) }),
  (s) => encode([1, s.kid, s.listRaw, s.sig]),
);

/** [1, kid, terminal, nonce, ts, sig], signed by an issuer key of usage B. */
export const SignedBeacon = form(
  null,
  (data) => {
    const f = fields(within(data, MAX_TEXT), 6);
    const beacon = { terminal: octets(f[2], Size.TERMINAL), nonce: octets(f[3], Size.NONCE), ts: uint(f[4]) };
    return [kidOf(f[1]), freeze(beacon), sigOf(f[5])];
  },
  async (kid, beacon, sig) => freeze({ kid, beacon, sig }),
  (s) => encode([1, s.kid, s.beacon.terminal, s.beacon.nonce, s.beacon.ts, s.sig]),
);

// What web/ov1 makes of each vector, as JSON; tests/browser/test_vectors.py says what it should have made.

import { fromText } from "/ov1/base45.js";
import { fromHex, toHex } from "/ov1/bytes.js";
import { bytesOf, read } from "/ov1/codec.js";
import { chain, GENESIS, readRow, rowBytes } from "/ov1/journal.js";
import { decodeReceipt, decodeRequest, decodeVoid } from "/ov1/payer.js";
import { mayStand, scalarBelowL } from "/ov1/points.js";
import { allowanceCacheKey, algorithmOf, checkPublicKey, message, verifySignature } from "/ov1/signing.js";
import { SignedAnswer, SyncRequest } from "/ov1/sync.js";
import { verdictOf } from "/ov1/verdicts.js";
import { checkForSettlement, consistentPair, decode, decodeBytes, judge } from "/ov1/verify.js";
import {
  SignedBeacon, SignedBundle, SignedReceipt, SignedRequest, SignedRevocations, SignedVoid, SignedVoucher,
} from "/ov1/wire.js";

/** JSON of a value: bytes as hex, names as Python writes them. */
function plain(value) {
  if (value instanceof Uint8Array) return toHex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name.replace(/[A-Z]/g, (up) => `_${up.toLowerCase()}`), plain(item)]),
  );
}

/** The other way: names as JavaScript writes them, and bytes behind the names that are bytes. */
function live(value) {
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), ["h", "prev"].includes(name) ? fromHex(item) : item,
    ]),
  );
}

function keyOf(context, name) {
  return fromHex(context.keys.find((key) => key.name === name).public);
}

function factsOf(context, { challenge = "OPEN", ccy = "INR", usages = "ABCLY", stored = [], ...changes }) {
  const trust = read.bundle(fromHex(context.bundle));
  return {
    payee: fromHex(context.payee), terminal: fromHex(context.terminal), nowS: context.now_s,
    bundle: { ...trust, entries: trust.entries.map((entry) => ({ ...entry, usages })) },
    challenge: { state: challenge, amount: context.amount, ccy }, stored: stored.map(live), ...live(changes),
  };
}

async function voucherWire(item, context) {
  const { value: signed } = await decode(item.text);
  const trust = read.bundle(fromHex(item.bundle));
  const { value: again } = await decodeBytes(fromHex(item.hex));
  return {
    text: SignedVoucher.toText(again), hex: toHex(SignedVoucher.toBytes(signed)), h: toHex(signed.h),
    message_a: toHex(message.allowance(signed.kid, signed.allowanceRaw)),
    message_v: toHex(await message.voucher(signed.allowanceRaw, signed.voucherRaw)),
    verdicts: [
      await checkForSettlement(signed, trust),
      (await judge(signed, { ...factsOf(context, {}), bundle: trust })).verdict,
    ],
  };
}

const CERTIFIED = {
  request: [SignedRequest, decodeRequest, message.request],
  receipt: [SignedReceipt, decodeReceipt, message.receipt],
  void: [SignedVoid, decodeVoid, message.void],
};

async function certifiedWire(item, context) {
  const [form, decodeText, messageOf] = CERTIFIED[item.form];
  const { value: signed } = await decodeText(item.text);
  const data = await messageOf(signed.certRaw, signed.bodyRaw);
  const cert = message.certificate(signed.kid, signed.certRaw);
  return {
    text: form.toText(signed), hex: toHex(form.toBytes(signed)), message: toHex(data), message_cert: toHex(cert),
    signed: [
      await verifySignature(0, keyOf(context, "issuer"), cert, signed.sigCert),
      await verifySignature(algorithmOf(signed.cert.terminalKey), signed.cert.terminalKey, data, signed.sig),
    ],
  };
}

const BARE = {
  bundle: [SignedBundle, "root", (s) => message.bundle(s.rootKid, s.bundleRaw)],
  revocations: [SignedRevocations, "issuer", (s) => message.revocations(s.kid, s.listRaw)],
  beacon: [SignedBeacon, "issuer", (s) => message.beacon(s.kid, s.beacon.terminal, s.beacon.nonce, s.beacon.ts)],
  sync_request: [SyncRequest, "terminal", (s) => message.syncRequest(s.terminal, s.serverNonce, s.bodyRaw)],
  sync_answer: [SignedAnswer, "issuer", (s, asked, context) =>
    message.syncAnswer(s.kid, fromHex(context.terminal), fromHex(context.server_nonce), asked.bodyRaw, s.answerRaw)],
};

async function bareWire(item, context, every) {
  const [form, signer, messageOf] = BARE[item.form];
  const signed = await form.fromBytes(fromHex(item.hex));
  const asked = await SyncRequest.fromBytes(fromHex(every.find((one) => one.form === "sync_request").hex));
  const data = await messageOf(signed, asked, context);
  return {
    hex: toHex(form.toBytes(signed)), message: toHex(data),
    signed: [await verifySignature(0, keyOf(context, signer), data, signed.sig)],
  };
}

async function signedMessage(item, context) {
  const voucher = (await (await fetch("/vectors/wires.json")).json())[0];
  const { value: s } = await decode(voucher.text);
  const keys = { Z: keyOf(context, "device"), E: keyOf(context, "terminal") };
  const pairing = new TextEncoder().encode("PAIR-CODE");
  const made = {
    Z: () => message.surrender(s.allowanceRaw, 1, context.amount, s.h),
    E: () => message.enrolment("terminal", fromHex(context.server_nonce), keys.E, pairing),
    allowance_cache_key: () => allowanceCacheKey(s.kid, s.allowanceRaw, s.sigA),
    h: () => s.h,
  };
  const data = await made[item.kind]();
  const sound = item.sig ? await verifySignature(0, keys[item.kind], data, fromHex(item.sig)) : true;
  return [toHex(data), sound];
}

const bytes = (item) => fromHex(item.hex);

const MAKES = {
  bodies_valid: (item) => {
    const value = read[item.body](bytes(item));
    return { fields: plain(value), hex: toHex(bytesOf[item.body](value)) };
  },
  bodies_invalid: async (item) => (await verdictOf(() => read[item.body](bytes(item)))).verdict,
  signatures: (item) => verifySignature(item.alg, fromHex(item.key), fromHex(item.message), fromHex(item.sig)),
  enrolment_keys: (item) => checkPublicKey(fromHex(item.key)),
  texts: async (item) => (await decode(item.text)).verdict,
  judgements: async (item, context) =>
    (await judge((await decode(item.text)).value, factsOf(context, item.facts))).verdict,
  rule9: (item) => consistentPair(live(item.lower), live(item.higher)),
  wires: (item, context, every) =>
    (item.form === "voucher" ? voucherWire : item.form in CERTIFIED ? certifiedWire : bareWire)(item, context, every),
  messages: signedMessage,
  chain: async (item, context, every) => {
    const before = item.seq === 1 ? GENESIS : fromHex(every[item.seq - 2].chain);
    const row = fromHex(item.row);
    const hash = await chain(fromHex(context.terminal), fromHex(context.epoch), item.seq, before, row);
    return { row: toHex(rowBytes(await readRow(row))), chain: toHex(hash) };
  },
};

const load = async (file) => (await fetch(`/vectors/${file}.json`)).json();

/** What each case of the file came to, in the file's order. */
export async function made(file) {
  const [context, every] = [await load("context"), await load(file)];
  return Promise.all(every.map((item) => MAKES[file](item, context, every)));
}

const bodies = Object.fromEntries(
  Object.keys(read).map((kind) => [kind, async (data) => bytesOf[kind](read[kind](data))]),
);
const READERS = {
  ...bodies,
  voucher_wire: async (data) => SignedVoucher.toBytes(await SignedVoucher.fromBytes(data)),
  row: async (data) => rowBytes(await readRow(data)),
};

/** Of each [kind, hex] the verdict, or the bytes that what was read is written as. */
export function judged(pairs) {
  return Promise.all(
    pairs.map(async ([kind, hex]) => {
      const { verdict, value } = await verdictOf(() => READERS[kind](fromHex(hex)));
      return value === null ? verdict : toHex(value);
    }),
  );
}

/** Of each text the bytes behind it, or the verdict. */
export function decoded(texts) {
  return Promise.all(
    texts.map(async (text) => {
      const { verdict, value } = await verdictOf(() => fromText("OV1V:", text));
      return value === null ? verdict : toHex(value);
    }),
  );
}

/** Of each 32 bytes: may they stand as A or R, and are they a scalar below L? */
export function points(every) {
  return every.map((hex) => [mayStand(fromHex(hex)), scalarBelowL(fromHex(hex))]);
}

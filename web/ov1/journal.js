// A terminal's journal: its five rows, their bytes, and the hash chain that makes it one history: as
// offline/journal.py. `readRow(data)` is a promise that rejects with Refused; `decodeRow(data)` gives {verdict, value}.

import { decodeStrict, encode } from "./cbor.js";
import { MAX_TEXT, Size, octets, octetsTo, text, uint, within } from "./fields.js";
import { sha256 } from "./signing.js";
import { malformed, Refused, Verdict, verdictOf } from "./verdicts.js";
import { SignedVoid, SignedVoucher } from "./wire.js";

export const GENESIS = new Uint8Array(Size.HASH);
export const MAX_ROW = MAX_TEXT + 64;
const REASONS = ["expired", "cancelled", "paid_online", "restored"];
const { freeze } = Object;

// Kind on the wire, number of items, reader of the items, and the items of a row.
const ROWS = {
  accept: [1, 4, async (f) => ({
    signed: await SignedVoucher.fromBytes(octetsTo(f[2], MAX_TEXT)), acceptedAt: uint(f[3]),
  }), (row) => [SignedVoucher.toBytes(row.signed), row.acceptedAt]],
  close: [2, 5, async (f) => {
    const reason = text(f[3]);
    if (!REASONS.includes(reason)) malformed("close reason");
    return { nonce: octets(f[2], Size.NONCE), reason, closedAt: uint(f[4]) };
  }, (row) => [row.nonce, row.reason, row.closedAt]],
  void: [3, 4, async (f) => ({
    signed: await SignedVoid.fromBytes(octetsTo(f[3], MAX_TEXT)), nonce: octets(f[2], Size.NONCE),
  }), (row) => [row.nonce, SignedVoid.toBytes(row.signed)]],
  apply: [4, 3, async (f) => ({ epoch: uint(f[2]) }), (row) => [row.epoch]],
  epoch: [5, 6, async (f) => ({
    newEpoch: octets(f[2], Size.EPOCH), oldEpoch: octets(f[3], Size.EPOCH), oldSeq: uint(f[4]),
    oldChain: octets(f[5], Size.HASH),
  }), (row) => [row.newEpoch, row.oldEpoch, row.oldSeq, row.oldChain]],
};

/** The row with its kind: accept, close, void, apply or epoch; what is inside is strictly read too. */
export async function readRow(data) {
  const f = decodeStrict(within(data, MAX_ROW));
  if (f.length < 2 || typeof f[0] !== "number" || typeof f[1] !== "number") malformed("row");
  const found = Object.entries(ROWS).find(([, [number]]) => number === f[1]);
  if (f[0] !== 1 || !found) throw new Refused(Verdict.UNSUPPORTED_VERSION, "row kind");
  const [kind, [, count, read]] = found;
  if (f.length !== count) malformed("row");
  return freeze({ kind, ...(await read(f)) });
}

export const decodeRow = (data) => verdictOf(() => readRow(data));

export function rowBytes(row) {
  const [number, , , items] = ROWS[row.kind];
  return encode([1, number, ...items(row)]);
}

/** c_seq = SHA-256(CBOR ["OV1", "J", terminal, epoch, seq, c_(seq-1), row]); `row` is its bytes. */
export async function chain(terminal, epoch, seq, previous, row) {
  return sha256(encode([
    "OV1", "J", octets(terminal, Size.TERMINAL), octets(epoch, Size.EPOCH), uint(seq, 1),
    octets(previous, Size.HASH), row,
  ]));
}

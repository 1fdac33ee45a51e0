// The sync conversation: a terminal's signed batch of journal rows and the server's signed answer: as offline/sync.py.
// Rows stay bytes here, so that one bad row is one bad item (`journal.decodeRow`), not a lost batch.

import { equal } from "./bytes.js";
import { encode, fields } from "./cbor.js";
import { MAX_TEXT, Size, array, octets, octetsTo, sized, text, uint, within } from "./fields.js";
import { MAX_ROW } from "./journal.js";
import { algorithmOf, message, verifySignature } from "./signing.js";
import { checkIssued } from "./trust.js";
import { malformed, Refused, Verdict } from "./verdicts.js";
import { MAX_REVOCATIONS } from "./wire.js";

const MAX_ROWS = 500;
const MAX_BODY = MAX_ROWS * (MAX_ROW + 16) + 256;
const MAX_REQUEST = MAX_BODY + 256;
const MAX_ANSWER = MAX_ROWS * 128 + MAX_REVOCATIONS + 2 * MAX_TEXT;
const VERDICTS = new Set(Object.values(Verdict));
const { freeze } = Object;

function header(value) {
  const f = sized(value, 6);
  const [ackedSeq, headSeq] = [uint(f[1]), uint(f[2])];
  if (ackedSeq > headSeq) malformed("acked beyond head");
  return freeze({
    epoch: octets(f[0], Size.EPOCH), ackedSeq, headSeq, head: octets(f[3], Size.HASH), applied: uint(f[4]),
    beaconNonce: octets(f[5], Size.NONCE),
  });
}

function seqRow(value) {
  const f = sized(value, 2);
  return freeze({ seq: uint(f[0], 1), row: octetsTo(f[1], MAX_ROW) });
}

function body(f) {
  const top = header(f[1]);
  const rows = array(f[2], MAX_ROWS).map(seqRow);
  if (rows.some((row, at) => at > 0 && row.seq !== rows[at - 1].seq + 1)) malformed("rows out of order");
  if (rows.length > 0 && rows.at(-1).seq > top.headSeq) malformed("row beyond head");
  return freeze({ header: top, rows: freeze(rows) });
}

export function readBody(data) {
  return body(fields(within(data, MAX_BODY), 3));
}

export function bodyBytes({ header: h, rows }) {
  const items = [
    1, [h.epoch, h.ackedSeq, h.headSeq, h.head, h.applied, h.beaconNonce], rows.map((row) => [row.seq, row.row]),
  ];
  body(items);
  return encode(items);
}

function verdict(value) {
  const name = text(value);
  if (!VERDICTS.has(name)) throw new Refused(Verdict.UNSUPPORTED_VERSION, "verdict");
  return name;
}

function item(value) {
  const f = sized(value, 3);
  return freeze({ seq: uint(f[0], 1), rowHash: octets(f[1], Size.HASH), result: verdict(f[2]) });
}

function answer(f) {
  const items = array(f[3], MAX_ROWS).map(item);
  if (items.some((one, at) => at > 0 && one.seq <= items[at - 1].seq)) malformed("items out of order");
  return freeze({
    epoch: octets(f[1], Size.EPOCH), verdict: verdict(f[2]), items: freeze(items), ackedSeq: uint(f[4]),
    ackedHead: octets(f[5], Size.HASH), revocations: octetsTo(f[6], MAX_REVOCATIONS), bundleVersion: uint(f[7]),
    beacon: octetsTo(f[8], MAX_TEXT), nextNonce: octets(f[9], Size.SERVER_NONCE), serverTime: uint(f[10]),
  });
}

export function readAnswer(data) {
  return answer(fields(within(data, MAX_ANSWER), 11));
}

export function answerBytes(a) {
  const items = [
    1, a.epoch, a.verdict, a.items.map((one) => [one.seq, one.rowHash, one.result]), a.ackedSeq, a.ackedHead,
    a.revocations, a.bundleVersion, a.beacon, a.nextNonce, a.serverTime,
  ];
  answer(items);
  return encode(items);
}

/** [1, terminal, server_nonce, body, sig], signed by the registered terminal key (S). */
export const SyncRequest = freeze({
  of: async (terminal, serverNonce, bodyRaw, sig) =>
    freeze({ terminal, serverNonce, bodyRaw, sig, body: readBody(bodyRaw) }),
  fromBytes: async (data) => {
    const f = fields(within(data, MAX_REQUEST), 5);
    return SyncRequest.of(
      octets(f[1], Size.TERMINAL), octets(f[2], Size.SERVER_NONCE), octetsTo(f[3], MAX_BODY),
      octets(f[4], Size.SIGNATURE),
    );
  },
  toBytes: (s) => encode([1, s.terminal, s.serverNonce, s.bodyRaw, s.sig]),
});

/** [1, kid, answer, sig], signed by an issuer key of usage Y. */
export const SignedAnswer = freeze({
  of: async (kid, answerRaw, sig) => freeze({ kid, answerRaw, sig, answer: readAnswer(answerRaw) }),
  fromBytes: async (data) => {
    const f = fields(within(data, MAX_ANSWER + 128), 4);
    return SignedAnswer.of(octets(f[1], Size.KID), octetsTo(f[2], MAX_ANSWER), octets(f[3], Size.SIGNATURE));
  },
  toBytes: (s) => encode([1, s.kid, s.answerRaw, s.sig]),
});

/** S by the key registered for the terminal. The nonce is the server's to ask. */
export async function checkSyncRequest(request, terminalKey) {
  const data = await message.syncRequest(request.terminal, request.serverNonce, request.bodyRaw);
  const sound = await verifySignature(algorithmOf(terminalKey), terminalKey, data, request.sig);
  return sound ? Verdict.ACCEPTED : Verdict.SIGNATURE;
}

/** Y over this very request and answer; the epoch must be the request's. */
export async function checkSyncAnswer(signed, bundle, request) {
  const data = await message.syncAnswer(
    signed.kid, request.terminal, request.serverNonce, request.bodyRaw, signed.answerRaw,
  );
  const result = await checkIssued(bundle, signed.kid, "Y", data, signed.sig);
  if (result !== Verdict.ACCEPTED) return result;
  return equal(signed.answer.epoch, request.body.header.epoch) ? Verdict.ACCEPTED : Verdict.OTHER_SUBJECT;
}

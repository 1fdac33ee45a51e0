// What the payer is told: a sentence for every way in which a payment is not made.

import { Verdict } from "../ov1/verdicts.js";

const NOTHING = "Nothing was paid.";
const SENTENCES = {
  [Verdict.MALFORMED]: `This is not a shop's payment code. ${NOTHING} Scan the code on the shop's screen.`,
  [Verdict.NON_CANONICAL]: `This code is not written as a shop's terminal writes it. ${NOTHING} Pay another way.`,
  [Verdict.UNSUPPORTED_VERSION]: `The shop's terminal is newer than this app. ${NOTHING} Go online once, so that the app renews itself.`,
  [Verdict.ISSUER_KEY_UNKNOWN]: `This app does not know who vouches for the shop. ${NOTHING} Go online and take a new allowance.`,
  [Verdict.ISSUER_KEY_EXPIRED]: `What vouches for the shop is out of date here. ${NOTHING} Check this device's clock, or go online.`,
  [Verdict.CERTIFICATE_SIGNATURE]: `Nobody vouches for this shop's name. ${NOTHING} Do not pay here.`,
  [Verdict.CERTIFICATE_EXPIRED]: `This shop's certificate has run out. ${NOTHING} The shop must go online.`,
  [Verdict.REQUEST_SIGNATURE]: `This request was not signed by the shop's terminal. ${NOTHING} Scan again.`,
  [Verdict.REQUEST_REUSED]: `This request was seen before with other contents. ${NOTHING} Ask the shop for a new one.`,
  [Verdict.CURRENCY_MISMATCH]: `The shop asks for another currency than your allowance. ${NOTHING}`,
  [Verdict.NOT_YET_VALID]: `Your allowance has not begun. ${NOTHING} Check this device's clock.`,
  [Verdict.ALLOWANCE_EXPIRED]: `Your allowance has run out of time. ${NOTHING} Go online and take a new one.`,
  [Verdict.OVER_VOUCHER_LIMIT]: `This is more than one offline payment may be. ${NOTHING} Pay another way.`,
  [Verdict.COUNTER_RANGE]: `Your allowance has no payments left. ${NOTHING} Go online and take a new one.`,
  [Verdict.OVER_ALLOWANCE_CAP]: `Your allowance does not cover this. ${NOTHING} Pay another way, or go online.`,
  [Verdict.ALLOWANCE_SIGNATURE]: "The allowance was not signed by its issuer, so it was not kept.",
  [Verdict.SIGNATURE]: "This is not signed by whom it names. Nothing was kept.",
  [Verdict.OTHER_SUBJECT]: "This belongs to another payment or device. Nothing was kept.",
  [Verdict.STALE]: "The server answered with something older than what is held here. Try again later.",
  "edge.no_allowance": `There is no allowance here. ${NOTHING} Go online and take one.`,
  "edge.allowance_surrendered": `Your allowance was given back. ${NOTHING} Go online and take a new one.`,
  "edge.allowance_held": "This browser holds an allowance already. Give it back first.",
  "edge.no_picture": "No code was found in that picture. Take it closer and straighter.",
  "edge.no_camera": "The camera cannot be used here. Choose a picture of the code, or paste its text.",
};

export function sentence(why) {
  return SENTENCES[why] ?? `${NOTHING} (${why})`;
}

const TIERS = {
  tee: "It was raised to the middle tier for you.",
  hardware_counter: "It was raised to the highest tier for you.",
};

/** Which tier a key in a browser is: the lowest, unless an operator said otherwise. */
export function tierSaid(tier) {
  return `The key is in this browser only: the lowest tier. ${TIERS[tier] ?? ""}`.trim();
}
